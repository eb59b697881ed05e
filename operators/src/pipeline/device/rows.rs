//! A segment whose rows go on to another step: counted first, then written where they belong.
//!
//! ```text
//!   row        0 1 2 3 4        count:  how many rows come of each row
//!   counts     1 0 2 0 1        starts: how many before it (prefix sums)
//!   starts     0 1 1 3 3        write:  each to its place, so that order is kept
//! ```

use arrow::datatypes::DataType;
use bireme_engine::morsel::carried_type;

use super::code::{Form, Item, Memory, Origin, Shapes, Writer, Written};
use super::kernel::{Kernel, Parts};
use super::plan::Segment;

/// A column that a kernel writes, or how the host makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Values of a carried type, and whether some may be NULL.
    Values { form: Form, carried: DataType, nullable: bool },
    /// Those of a stored column, whatever they are, at the rows that were written.
    Rows { origin: Origin, place: usize },
}

/// The kernels of a segment.
pub(super) struct RowKernel {
    pub kernel: Kernel,
    /// The columns of what goes on; nothing goes on if there are none.
    pub outputs: Option<Vec<Output>>,
    /// Whose row numbers are written, in order.
    pub numbered: Vec<Origin>,
    /// Every row becomes one row: nothing need be counted.
    pub straight: bool,
}

impl RowKernel {
    pub fn of(segment: &Segment, shapes: Option<&Shapes>, built: &[super::body::Built]) -> Written<Self> {
        let mut writer = Writer::new(shapes);
        let rows = writer.word(0);
        debug_assert_eq!(rows, 0, "the number of rows is the first word");
        let items = super::body::steps(&mut writer, &segment.steps, &segment.joined, built, segment.items())?;
        let counting = writer.text.clone();
        let (straight, mut numbered) = (segment.is_straight(), Vec::new());
        let outputs = match items {
            Some(items) => {
                let outputs = items
                    .iter()
                    .enumerate()
                    .map(|(number, item)| output(&mut writer, number, item, straight, &mut numbered));
                Some(outputs.collect::<Written<Vec<_>>>()?)
            }
            None => None,
        };
        let writing = std::mem::take(&mut writer.text);
        writer.close_all();
        let closings = std::mem::take(&mut writer.text);
        let reached = if outputs.is_some() { "    ++made;\n" } else { "" };
        let mut parts = Parts::of(segment.steps.len());
        parts.kernel(
            &writer,
            "count",
            &["u32 *counts"],
            &format!("    u32 made = 0;\n    do {{\n{counting}{reached}{closings}    }} while (false);\n    counts[row] = made;\n"),
        );
        if let Some(outputs) = &outputs {
            let mut memory = vec!["const u64 *starts".to_owned()];
            for (number, output) in outputs.iter().enumerate() {
                if let Output::Values { form, nullable, .. } = output {
                    let name = if *form == Form::Bool { "u8" } else { form.name() };
                    memory.push(format!("{name} *out{number}"));
                    memory.extend(nullable.then(|| format!("u8 *out{number}v")));
                }
            }
            memory.extend((0..numbered.len()).map(|number| format!("u32 *rows{number}")));
            let memory = memory.iter().map(String::as_str).collect::<Vec<_>>();
            let start = if straight { "row" } else { "starts[row]" };
            parts.kernel(
                &writer,
                "write",
                &memory,
                &format!("    u64 at = {start};\n    do {{\n{writing}    ++at;\n{closings}    }} while (false);\n"),
            );
        }
        Ok(Self { kernel: parts.finish(writer), outputs, numbered, straight })
    }
}

/// Writes a column of the row at hand. Stored ones are the host's to gather: their rows are fewer bytes.
fn output(
    writer: &mut Writer<'_>,
    number: usize,
    item: &Item,
    straight: bool,
    numbered: &mut Vec<Origin>,
) -> Written<Output> {
    if let Item::Stored(origin, place) = *item {
        if !straight && !numbered.contains(&origin) {
            let row = match origin {
                Origin::Rows => "(u32)row".to_owned(),
                Origin::Table(table) => format!("b{table}"),
            };
            writer.line(format!("rows{}[at] = {row};", numbered.len()));
            numbered.push(origin);
        }
        return Ok(Output::Rows { origin, place });
    }
    let Item::Computed(value, logical) = item else { return Err("a column that is not there".into()) };
    writer.line(format!("out{number}[at] = {};", value.code));
    if let Some(valid) = &value.valid {
        writer.line(format!("out{number}v[at] = {valid};"));
    }
    let carried = match carried_type(logical) {
        // Decimals of any digits may be carried in 64 bits.
        DataType::Decimal128(..) if value.form != Form::Wide => DataType::Int64,
        carried => carried,
    };
    Ok(Output::Values { form: value.form, carried, nullable: value.valid.is_some() })
}

/// Which columns of the rows at hand a kernel reads.
pub(super) fn columns_read(kernel: &Kernel) -> Vec<usize> {
    let values = kernel.memory.iter().filter_map(|memory| match memory {
        Memory::Values(Origin::Rows, place) => Some(*place),
        _ => None,
    });
    let mut columns = values.collect::<Vec<_>>();
    columns.sort_unstable();
    columns.dedup();
    columns
}
