//! Benchmarks: query texts under `queries/`; programs that measure come with the operators they measure.
