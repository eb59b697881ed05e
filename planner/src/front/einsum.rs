//! `einsum('ik,kj->ij', 'a', 'b')`: a product of tables in Einstein's notation, as joins and groups.
//!
//! ```text
//!  einsum('ik,kj->ij', 'a', 'b')          SELECT operand_1.i AS i, operand_2.j AS j, SUM(operand_1.value * operand_2.value) AS v
//!                                   ──►   FROM (a: columns i, k, value) AS operand_1 JOIN (b: columns k, j, value) AS operand_2
//!                                           ON operand_1.k = operand_2.k
//!                                         GROUP BY operand_1.i, operand_2.j
//! ```
//!
//! A table has an index column for each of its letters and a value column behind them, by position; its own column names do not
//! count. Tables are joined in the order in which they are written on the letters they share with those before (without any they
//! are crossed), a letter that stands twice in one operand is a filter, and no letter behind the arrow is one sum over everything.
//! The result has a column for each letter behind the arrow, of that name, and `v`.
//!
//! The meaning is that of the query above: coordinates without a row are not zeros but do not meet, groups without a row do not
//! appear, equal coordinates add up, and a NULL index meets nothing. Values are taken as DOUBLE where one of the tables has floats,
//! else as BIGINT where all have integers that fit, so that small types do not overflow and a product of tensors is found by
//! [`find_contractions`](crate::rewrite::find_contractions), which knows nothing of this function.

use arrow::datatypes::DataType;
use bireme_operators::checked_sum::checked_sum;
use bireme_operators::contract::Einsum;
use bireme_operators::errors::to_datafusion;
use datafusion::common::{Column, Result, plan_datafusion_err, plan_err};
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder, cast};

use super::TableFunction;
use super::call::{Argued, Call};

/// What values are called while no letter is in the way, and in the result.
const VALUE: &str = "value";
const RESULT: char = 'v';

/// The function.
#[derive(Debug)]
pub(super) struct EinsumOfTables;

impl TableFunction for EinsumOfTables {
    fn name(&self) -> &'static str {
        "einsum"
    }

    fn takes_table(&self, place: usize, name: Option<&str>) -> bool {
        place > 0 && name.is_none()
    }

    fn plan(&self, call: Call) -> Result<LogicalPlan> {
        let (einsum, tables) = read(call)?;
        let value_type = common_type(&einsum, &tables)?;
        let mut operands = Vec::with_capacity(tables.len());
        for (number, (letters, table)) in einsum.operands().iter().zip(tables).enumerate() {
            operands.push(Operand::new(number, letters, table, value_type.as_ref())?);
        }
        product(&einsum, operands)
    }
}

/// A table with the words for it.
struct Table {
    spoken: String,
    plan: LogicalPlan,
}

/// The notation and the tables.
fn read(call: Call) -> Result<(Einsum, Vec<Table>)> {
    let mut arguments = call.arguments.into_iter();
    let notation = arguments.next();
    let text = notation.as_ref().and_then(|first| first.value.text()).ok_or_else(|| {
        plan_datafusion_err!(
            "einsum: the first argument is the notation, a text such as 'ik,kj->ij'; the tables follow"
        )
    })?;
    let einsum = Einsum::parse(text).map_err(to_datafusion)?;
    let mut tables = Vec::with_capacity(arguments.len());
    for argument in arguments {
        match (argument.name, argument.value) {
            (None, Argued::Table { spoken, plan }) => tables.push(Table { spoken, plan }),
            (Some(name), _) => return plan_err!("einsum has no argument `{name} => …`: its tables have no names"),
            (None, Argued::Value(other)) => return plan_err!("einsum: `{other}` is no table"),
        }
    }
    if tables.len() != einsum.operands().len() {
        return plan_err!(
            "einsum \"{einsum}\" has {} operands, but {} tables were given",
            einsum.operands().len(),
            tables.len()
        );
    }
    if einsum.output().contains(&RESULT) {
        return plan_err!(
            "einsum \"{einsum}\": the result's values are its column `{RESULT}`, so no index of it can be; take another letter"
        );
    }
    for (number, (letters, table)) in einsum.operands().iter().zip(&tables).enumerate() {
        let columns = table.plan.schema().fields();
        if columns.len() != letters.len() + 1 {
            let names = columns.iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
            return plan_err!(
                "einsum \"{einsum}\": operand {} is written \"{}\", which is {} index columns and one of values behind them, but {} has \
                 {} columns: {names}; select those that are meant: (SELECT … FROM …)",
                number + 1,
                letters.iter().collect::<String>(),
                letters.len(),
                table.spoken,
                columns.len()
            );
        }
    }
    Ok((einsum, tables))
}

/// The type all values are taken as, if there is one that loses nothing: see above.
fn common_type(einsum: &Einsum, tables: &[Table]) -> Result<Option<DataType>> {
    let mut types = Vec::with_capacity(tables.len());
    for table in tables {
        let Some(field) = table.plan.schema().fields().last() else { continue };
        if !field.data_type().is_numeric() && !field.data_type().is_null() {
            return plan_err!(
                "einsum \"{einsum}\": the values of {}, its last column `{}`, are {} and no numbers",
                table.spoken,
                field.name(),
                field.data_type()
            );
        }
        types.push(field.data_type().clone());
    }
    Ok(if types.iter().any(DataType::is_floating) {
        Some(DataType::Float64)
    } else if types.iter().all(|one| one.is_integer() && *one != DataType::UInt64) {
        Some(DataType::Int64)
    } else {
        None
    })
}

/// A table whose columns are called after its letters.
struct Operand {
    name: String,
    letters: Vec<char>,
    plan: LogicalPlan,
}

impl Operand {
    fn new(number: usize, letters: &[char], table: Table, value_type: Option<&DataType>) -> Result<Self> {
        let name = format!("operand_{}", number + 1);
        let columns = table.plan.schema().columns();
        let value_is = table.plan.schema().fields().last().map(|field| field.data_type().clone());
        let mut rows = LogicalPlanBuilder::from(table.plan);
        let mut kept = Vec::new();
        let mut exprs = Vec::new();
        for (place, (&letter, column)) in letters.iter().zip(&columns).enumerate() {
            match letters[..place].iter().position(|&earlier| earlier == letter) {
                Some(first) => {
                    rows = rows.filter(Expr::Column(columns[first].clone()).eq(Expr::Column(column.clone())))?;
                }
                None => {
                    kept.push(letter);
                    exprs.push(Expr::Column(column.clone()).alias(letter.to_string()));
                }
            }
        }
        let values = columns.last().cloned().map(Expr::Column);
        let values = values.ok_or_else(|| plan_datafusion_err!("einsum: {} has no columns", table.spoken))?;
        exprs.push(match value_type {
            Some(wanted) if value_is.as_ref() != Some(wanted) => cast(values, wanted.clone()).alias(VALUE),
            _ => values.alias(VALUE),
        });
        let plan = rows.project(exprs)?.alias(name.as_str())?.build()?;
        Ok(Self { name, letters: kept, plan })
    }

    fn column(&self, name: impl Into<String>) -> Column {
        Column::new(Some(self.name.as_str()), name.into())
    }
}

/// The join of all operands, grouped by the letters of the result.
fn product(einsum: &Einsum, operands: Vec<Operand>) -> Result<LogicalPlan> {
    // Where each letter is read: in the first operand that has it.
    let mut known: Vec<(char, Column)> = Vec::new();
    let mut joined: Option<LogicalPlanBuilder> = None;
    let mut summand: Option<Expr> = None;
    for operand in operands {
        let value = Expr::Column(operand.column(VALUE));
        summand = Some(match summand {
            Some(product) => product * value,
            None => value,
        });
        let (mut left, mut right, mut new) = (Vec::new(), Vec::new(), Vec::new());
        for &letter in &operand.letters {
            let column = operand.column(letter);
            match known.iter().find(|(one, _)| *one == letter) {
                Some((_, first)) => {
                    left.push(first.clone());
                    right.push(column);
                }
                None => new.push((letter, column)),
            }
        }
        known.extend(new);
        joined = Some(match joined {
            None => LogicalPlanBuilder::from(operand.plan),
            Some(rows) if left.is_empty() => rows.cross_join(operand.plan)?,
            Some(rows) => rows.join(operand.plan, JoinType::Inner, (left, right), None)?,
        });
    }
    let (Some(rows), Some(summand)) = (joined, summand) else { return plan_err!("einsum \"{einsum}\" has no operand") };
    let output = known_columns(einsum, &known)?;
    let groups = output.iter().map(|(_, column)| Expr::Column(column.clone()));
    let sum = checked_sum().call(vec![summand]).alias(RESULT.to_string());
    let named = output.iter().map(|(letter, column)| Expr::Column(column.clone()).alias(letter.to_string()));
    let result = named.chain([Expr::Column(Column::new_unqualified(RESULT.to_string()))]);
    rows.aggregate(groups, [sum])?.project(result.collect::<Vec<_>>())?.build()
}

fn known_columns(einsum: &Einsum, known: &[(char, Column)]) -> Result<Vec<(char, Column)>> {
    let columns = einsum.output().iter().map(|letter| known.iter().find(|(one, _)| one == letter).cloned());
    columns
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| plan_datafusion_err!("einsum \"{einsum}\": an index of the result is in no operand"))
}
