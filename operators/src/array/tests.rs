//! Tests of loops, folds and steps.
