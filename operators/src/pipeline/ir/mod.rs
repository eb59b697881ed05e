//! The pipeline language: what a fused stage computes, free of any device's detail.
//!
//! A [`Program`] is a list of [`Pipeline`]s. Each reads a source, sends its rows through steps that keep nothing, and ends
//! in a sink that keeps what later pipelines read from its *slot*:
//!
//! ```text
//!   pipeline 0: scan nation          → filter          → build slot 0
//!   pipeline 1: scan supplier        → probe slot 0    → build slot 1
//!   pipeline 2: scan lineitem        → project → probe slot 1 → aggregate slot 2
//!   pipeline 3: slot 2               → project         → sort slot 3
//!   pipeline 4: slot 3                                 → output
//! ```
//!
//! A source may be a union of branches, each with steps of its own; what is behind it is there once:
//!
//! ```text
//!   pipeline 0: union
//!     branch 0: scan nation          → project
//!     branch 1: scan region          → filter → project
//!                                                      → aggregate slot 0
//! ```
//!
//! The CPU back end runs a pipeline morsel by morsel ([`super::run`]); the CUDA back end prints it as one kernel. The text
//! of a program ([`Program::lines`]) is canonical: the same program has the same text, which is its key.

mod expr;
mod operators;
mod program;
mod window;

pub use expr::{ArithmeticOp, BatchFunction, CompareOp, DatePart, Expr, ExprKind};
pub use operators::{
    AggregateCall, AggregateFunction, AggregateMode, AggregateSpec, GroupFunction, GroupState, JoinColumn, JoinKind,
    JoinSpec, SortKey, SortSpec,
};
pub use program::{Advice, Branch, Partner, PartnerKeys, Pipeline, Places, Program, Scan, Sink, SlotId, Source, Step};
pub use window::{WindowCall, WindowFrame, WindowFunction, WindowSpec};
