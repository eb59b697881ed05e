//! Measures the GPUs of this machine, a line each:
//!
//! ```sh
//! cargo run --release -p bireme-engine --features cuda --example gpu_rates
//! ```

use std::process::ExitCode;

use bireme_engine::machine::{GpuRates, Machine, measure_gpu};

#[allow(clippy::print_stdout, reason = "a program for the terminal")]
fn main() -> ExitCode {
    let machine = Machine::probe(1, 0);
    if machine.gpus.is_empty() {
        println!("There is no GPU to measure: {}.", machine.gpu_note.unwrap_or_default());
    }
    let mut code = ExitCode::SUCCESS;
    for (number, gpu) in machine.gpus.iter().enumerate() {
        match measure_gpu(number) {
            Ok(rates) => println!("gpu {number}: {}: {}", gpu.name, describe(&rates)),
            Err(story) => {
                println!("gpu {number}: {}: {story}", gpu.name);
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

fn describe(rates: &GpuRates) -> String {
    let GpuRates { memory, upload, download, flops, launch } = rates;
    format!(
        "memory {:.1} GB/s, upload {:.2} GB/s, download {:.2} GB/s, {:.3} TFLOP/s, launch {:.2} µs",
        memory / 1e9,
        upload / 1e9,
        download / 1e9,
        flops / 1e12,
        launch * 1e6
    )
}
