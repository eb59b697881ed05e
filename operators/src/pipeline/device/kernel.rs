//! Kernels over the rows of a batch, put together from what is written for one row.

use bireme_engine::device::Source;

use super::code::{Memory, Writer};

const FUNCTIONS: &str = include_str!("functions.h");

/// Threads of a block.
pub(super) const THREADS: u32 = 256;

/// Blocks at most: enough for the largest GPU several times over, and each thread takes several rows of a large batch.
pub(super) const BLOCKS: u32 = 132 * 16;

/// A source and what its kernels are told: a parameter of words, memory that is read, then what each writes, and in the end `seen`, `status`.
pub(super) struct Kernel {
    pub source: Source,
    pub words: Vec<u64>,
    pub memory: Vec<Memory>,
}

/// Kernels of one source, as they are written.
pub(super) struct Parts {
    steps: usize,
    text: String,
    names: Vec<String>,
}

impl Parts {
    /// None yet; each counts the rows of so many steps.
    pub fn of(steps: usize) -> Self {
        Self { steps, text: String::new(), names: Vec::new() }
    }

    /// Adds a kernel: what it writes, what it does for each row.
    pub fn kernel(&mut self, writer: &Writer<'_>, name: &str, writes: &[&str], row: &str) {
        self.kernel_around(writer, name, writes, "", row, "");
    }

    /// The same with statements before the first row and behind the last one; all threads of a block come to the latter.
    pub fn kernel_around(
        &mut self,
        writer: &Writer<'_>,
        name: &str,
        writes: &[&str],
        before: &str,
        row: &str,
        behind: &str,
    ) {
        let mut parameters = vec!["const u64 *p".to_owned()];
        parameters.extend(writer.memory.iter().map(|(_, parameter)| parameter.clone()));
        parameters.extend(writes.iter().map(|&parameter| parameter.to_owned()));
        parameters.extend(["u64 *seen".to_owned(), "u32 *status".to_owned()]);
        let counters = (0..self.steps).map(|step| format!("  u32 seen{step} = 0;\n")).collect::<String>();
        let counted =
            (0..self.steps).map(|step| format!("  count_up(seen + {step}, seen{step});\n")).collect::<String>();
        self.text.push_str(&format!(
            "extern \"C\" __global__ void {name}({}) {{\n  bool failed = false;\n{counters}{before}  \
             for (u64 row = blockIdx.x * (u64)blockDim.x + threadIdx.x; row < p[0]; row += (u64)gridDim.x * blockDim.x) {{\n\
             {row}  }}\n  if (failed) atomicOr(status, FAILED);\n{counted}{behind}}}\n",
            parameters.join(", ")
        ));
        self.names.push(name.to_owned());
    }

    pub fn finish(self, writer: Writer<'_>) -> Kernel {
        let source = Source::new(format!("{FUNCTIONS}\n{}", self.text), self.names);
        Kernel { source, words: writer.words, memory: writer.memory.into_iter().map(|(memory, _)| memory).collect() }
    }
}
