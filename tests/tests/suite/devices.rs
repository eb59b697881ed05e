//! Queries on devices: the emulated one, and a GPU where there is one, give the answers of the CPU.

use std::cell::RefCell;
use std::collections::BTreeMap;

use bireme::{Array, Device, DeviceShare, DeviceWork, Session, SessionBuilder};
use bireme_tests::{compare, oracle, slt, tpch};

/// Of a hundred pipelines that compute something, so many may run on the CPU, be it for a small part of them. The goal is 10, which TPC-H's
/// keep; those of the SQL suite have window functions (6 of 100), and functions and casts that have no kernels (5).
const MOST_ON_CPU: u64 = 11;

type Builder = fn() -> SessionBuilder;

/// Builders of sessions on the devices that there are.
fn builders() -> Vec<Builder> {
    let all: [(&str, Builder); 2] = [
        ("the emulated device", || Session::builder().threads(1).device(Device::Emulated)),
        ("a GPU", || Session::builder().threads(1).device(Device::Gpu)),
    ];
    let mut there = Vec::new();
    for (name, builder) in all {
        match builder().build() {
            Ok(_) => there.push(builder),
            Err(error) => eprintln!("SKIPPED on {name}: {error}"),
        }
    }
    there
}

/// Adds what ran where.
fn add(all: &mut BTreeMap<DeviceWork, DeviceShare>, session: &Session) {
    for report in session.device_reports() {
        for (work, share) in report.work {
            let sum = all.entry(work).or_default();
            sum.on_device += share.on_device;
            share.on_cpu.into_iter().for_each(|(why, count)| *sum.on_cpu.entry(why).or_default() += count);
        }
    }
}

/// Says what ran where, and checks that most pipelines ran on the device.
fn check_shares(what: &str, all: &BTreeMap<DeviceWork, DeviceShare>) {
    for (work, share) in all {
        eprintln!("{what}: {} {work} on the device, {} on the CPU", share.on_device, share.cpu());
        share.on_cpu.iter().for_each(|(why, count)| eprintln!("    {count}: {why}"));
    }
    let share = all.get(&DeviceWork::Pipelines).cloned().unwrap_or_default();
    let (device, cpu) = (share.on_device, share.cpu());
    assert!(device > 0 && 100 * cpu <= MOST_ON_CPU * (device + cpu), "{what}: {cpu} of {} on the CPU", device + cpu);
}

/// Kernels are compiled for the GPUs that it names as well.
const CHECK: &str = "BIREME_CHECK_KERNELS_FOR";

#[test]
fn the_sql_suite() {
    // There are a thousand kernels, and NVRTC takes a sixth of a second for each and each architecture: minutes, on top of those of the
    // emulated device. So this is tried without it, in a process of its own; kernels of TPC-H are compiled for GPUs.
    if std::env::var_os(CHECK).is_some() {
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["devices::the_sql_suite", "--exact", "--nocapture"]).env_remove(CHECK);
        assert!(again.status().unwrap().success(), "without {CHECK}");
        return;
    }
    std::env::set_current_dir(bireme_tests::root()).unwrap();
    for builder in builders() {
        let (mut failures, mut all) = (Vec::new(), BTreeMap::new());
        for file in slt::files() {
            let session = RefCell::new(None);
            let result = slt::run(&file, || session.borrow_mut().insert(builder().build().unwrap()).clone());
            failures.extend(result.err().map(|why| format!("{}: {why}", file.display())));
            session.borrow().iter().for_each(|session| add(&mut all, session));
        }
        assert!(failures.is_empty(), "{} files failed:\n{}", failures.len(), failures.join("\n\n"));
        check_shares("the SQL suite", &all);
    }
}

#[test]
fn tpch_queries() {
    let data = tpch::data(0.01);
    for builder in builders() {
        let session = builder().build().unwrap();
        session.register_directory(data.to_str().unwrap()).unwrap();
        let mut failures = Vec::new();
        for number in 1..=22 {
            let statements = tpch::query(number);
            let expected = oracle::run(&data, &tpch::TABLES, &statements);
            let mut rows = Vec::new();
            for statement in &statements {
                let frame = session.sql(statement).unwrap();
                match frame.collect() {
                    Ok(batches) if frame.is_query() => rows = batches,
                    Ok(_) => {}
                    Err(error) => failures.push(format!("q{number}: {error}")),
                }
            }
            failures.extend(compare::difference(&rows, &expected, false).map(|why| format!("q{number}: {why}")));
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        let mut all = BTreeMap::new();
        add(&mut all, &session);
        check_shares("TPC-H", &all);
    }
}

#[test]
fn plans_say_what_has_kernels() {
    let session = match Session::builder().threads(1).device(Device::Emulated).build() {
        Ok(session) => session,
        Err(error) => return eprintln!("SKIPPED: {error}"),
    };
    session.register_path("lineitem", tpch::data(0.01).join("lineitem.parquet").to_str().unwrap()).unwrap();
    let text = |sql: &str| {
        let batches = session.sql(sql).unwrap().collect().unwrap();
        arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string()
    };
    let query = "SELECT l_returnflag, sum(l_quantity) FROM lineitem WHERE l_tax > 0.02 GROUP BY l_returnflag";
    let plan = text(&format!("EXPLAIN {query}"));
    assert!(plan.contains("kernel of filter, project, aggregate"), "{plan}");
    let plan = text("EXPLAIN SELECT max(upper(l_comment)) FROM lineitem");
    assert!(plan.contains("on the CPU: project (the function upper"), "{plan}");
    let plan = text("EXPLAIN SELECT count(DISTINCT l_tax), count(DISTINCT l_discount) FROM lineitem");
    assert!(!plan.contains("on the CPU") && plan.contains("kernel of"), "{plan}");
    let analyzed = text(&format!("EXPLAIN ANALYZE {query}"));
    assert!(analyzed.contains("device_bytes_up"), "{analyzed}");
}

/// A partition of a window may come in several morsels' worth of rows, some of which wait for a batch of the device.
#[test]
fn windows_wait_for_rows_on_devices() {
    let query = "SELECT g, max(s), sum(s) FROM (
            SELECT g, sum(rn) OVER (PARTITION BY g ORDER BY k) AS s FROM (
                SELECT g, k, row_number() OVER (PARTITION BY g ORDER BY k) AS rn FROM (
                    SELECT i % 3 AS g, (i * 7919) % 60013 AS k FROM generate_series(1, 60000) AS t(i)))
            WHERE (rn + k) % 5 <> 0)
        GROUP BY g ORDER BY g";
    let rows = |session: &Session| {
        let batches = session.sql(query).unwrap().collect().unwrap();
        arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string()
    };
    let wanted = rows(&Session::builder().threads(2).device(Device::Cpu).build().unwrap());
    for builder in builders() {
        assert_eq!(rows(&builder().threads(2).build().unwrap()), wanted);
    }
}

/// Solvers and formulas as in the examples: their loops, folds and products run on the device.
fn seed_programs_on(session: &Session) -> bireme::Result<Vec<(&'static str, Vec<f64>)>> {
    let n = 70;
    let random = session.random::<f64>([n, n], 1);
    let a = &random + random.t() + session.eye::<f64>(n) * (2 * n) as f64;
    let b = session.random::<f64>([n], 2);
    let diagonal = a.diag()?;
    let rest = &a - diagonal.diag()?;
    let mut jacobi = Array::zeros_like(&b);
    for _ in 0..20 {
        jacobi = (&b - rest.dot(&jacobi)?) / &diagonal;
    }
    let mut x = Array::zeros_like(&b);
    let mut r = &b - a.dot(&x)?;
    let mut p = r.clone();
    let mut before = r.dot(&r)?;
    for _ in 0..12 {
        let ap = a.dot(&p)?;
        let alpha = &before / p.dot(&ap)?;
        x = x + &alpha * &p;
        r = r - &alpha * &ap;
        let now = r.dot(&r)?;
        p = &r + (&now / &before) * &p;
        before = now;
    }
    let (spot, strike) = (session.random::<f64>([500], 1) * 100.0 + 1.0, session.random::<f64>([500], 2) * 100.0 + 1.0);
    let years = session.random::<f64>([500], 3) * 2.0 + 0.1;
    let spread = 0.3 * years.sqrt();
    let d1 = ((&spot / &strike).ln() + 0.065 * &years) / &spread;
    let normal = |d: &Array<f64>| 1.0 / (1.0 + (-1.702 * d).exp());
    let call = &spot * normal(&d1) - &strike * (-0.02 * &years).exp() * normal(&(&d1 - &spread));
    let squares = random.dot(&random.t())?;
    Ok(vec![
        ("jacobi", jacobi.to_vec()?),
        ("conjugate gradient", x.to_vec()?),
        ("options", call.to_vec()?),
        ("matrix product", squares.to_vec()?),
    ])
}

#[test]
fn seed_programs() {
    let wanted = seed_programs_on(&Session::builder().threads(1).device(Device::Cpu).build().unwrap()).unwrap();
    for builder in builders() {
        let session = builder().build().unwrap();
        let got = seed_programs_on(&session).unwrap();
        for ((name, got), (_, wanted)) in got.iter().zip(&wanted) {
            for (place, (got, wanted)) in got.iter().zip(wanted).enumerate() {
                // Sums are in another order, and `exp` and `ln` within two units of the last place.
                assert!((got - wanted).abs() <= 1e-10 * wanted.abs().max(1.0), "{name} at {place}: {got}, {wanted}");
            }
        }
        let mut all = BTreeMap::new();
        add(&mut all, &session);
        let products = &all[&DeviceWork::Products];
        assert!(products.on_device > 30 && products.cpu() == 0, "{products:?}");
        // What has no kernels is said: random numbers are drawn by the host.
        let loops = &all[&DeviceWork::Loops];
        assert!(loops.on_device > 50 && 4 * loops.cpu() < loops.on_device, "{loops:?}");
    }
}
