//! Graph algorithms over any table or query: `pagerank('follows', src => 'follower', dst => 'followee')`.
//!
//! The first argument is the table of edges. `src` and `dst` name its columns; without them they are those called so, or the
//! first that are left. `directed => false` takes each edge in both directions. Vertices are integers or texts, and come back
//! in the type of `src`.
//!
//! | function | further arguments | columns |
//! |---|---|---|
//! | `pagerank` | `damping`, `tolerance`, `max_iterations`, `source` (jumps end there: personalised) | vertex, rank |
//! | `bfs` | `source` | vertex, parent, depth |
//! | `sssp` | `source`, `weight` (a column; by default the one called so, or the next that is left) | vertex, distance |
//! | `components`, `strong_components` | | vertex, component (its smallest vertex) |
//! | `triangles`, `core` | (edges count in both directions, once) | vertex, triangles / core |
//! | `betweenness` | `samples` and `seed` (sources drawn at random), or `source` | vertex, centrality |
//! | `communities` | `max_rounds` | vertex, community |

use arrow::datatypes::DataType;
use bireme_operators::graph::{Algorithm, PageRank, Sources, Vertex};
use datafusion::common::{Result, ScalarValue, plan_datafusion_err, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::TableFunction;
use super::call::{Argued, Call};
use crate::logical::{EdgeNames, graph_plan};

/// Rounds of label propagation, unless told otherwise.
const ROUNDS: usize = 100;

/// One of the functions, by its name.
#[derive(Debug)]
pub(super) struct GraphFunction(pub &'static str);

impl TableFunction for GraphFunction {
    fn name(&self) -> &'static str {
        self.0
    }

    fn takes_table(&self, place: usize, name: Option<&str>) -> bool {
        place == 0 && name.is_none()
    }

    fn plan(&self, call: Call) -> Result<LogicalPlan> {
        let mut given = Given::read(self.0, call)?;
        let algorithm = given.algorithm()?;
        let names = given.names(algorithm.takes_weights())?;
        given.nothing_else()?;
        graph_plan(given.table, &names, algorithm, None)
    }
}

/// The arguments of a call, taken one by one.
struct Given {
    function: &'static str,
    table: LogicalPlan,
    named: Vec<(String, ScalarValue)>,
    known: Vec<&'static str>,
}

impl Given {
    fn read(function: &'static str, call: Call) -> Result<Self> {
        let mut arguments = call.arguments.into_iter();
        let table = match arguments.next().map(|first| first.value) {
            Some(Argued::Table { plan, .. }) => plan,
            _ => {
                return plan_err!(
                    "{function}: the first argument is the table of edges, by its name or as a query in parentheses"
                );
            }
        };
        let mut named = Vec::new();
        for argument in arguments {
            match (argument.name, argument.value) {
                (Some(name), Argued::Value(value)) => {
                    let value = literal(&value).ok_or_else(|| {
                        plan_datafusion_err!(
                            "{function}: {name} => {value} must be written out: a number, a text, true or false"
                        )
                    })?;
                    named.push((name, value));
                }
                _ => return plan_err!("{function}: arguments behind the table have names, such as src => 'follower'"),
            }
        }
        Ok(Self { function, table, named, known: Vec::new() })
    }

    fn algorithm(&mut self) -> Result<Algorithm> {
        Ok(match self.function {
            "pagerank" => {
                let usual = PageRank::default();
                Algorithm::PageRank(PageRank {
                    damping: self.number("damping")?.unwrap_or(usual.damping),
                    tolerance: self.number("tolerance")?.unwrap_or(usual.tolerance),
                    max_iterations: self.count("max_iterations")?.unwrap_or(usual.max_iterations),
                    sources: self.vertex("source")?.into_iter().collect(),
                })
            }
            "bfs" => Algorithm::Bfs { source: self.source()? },
            "sssp" => Algorithm::Sssp { source: self.source()? },
            "components" => Algorithm::Components,
            "strong_components" => Algorithm::StrongComponents,
            "triangles" => Algorithm::Triangles,
            "core" => Algorithm::Coreness,
            "betweenness" => {
                let (samples, seed) = (self.count("samples")?, self.count("seed")?);
                let sources = match (self.vertex("source")?, samples) {
                    (Some(_), Some(_)) => return plan_err!("betweenness: either source or samples, not both"),
                    (Some(source), None) => Sources::Of(vec![source]),
                    (None, Some(count)) => Sources::Sample { count, seed: seed.unwrap_or(0) as u64 },
                    (None, None) if seed.is_some() => {
                        return plan_err!("betweenness: a seed is that of a sample: samples => …");
                    }
                    (None, None) => Sources::All,
                };
                Algorithm::Betweenness { sources }
            }
            "communities" => Algorithm::Communities { max_rounds: self.count("max_rounds")?.unwrap_or(ROUNDS) },
            other => return plan_err!("{other} is no graph function"),
        })
    }

    fn names(&mut self, weighted: bool) -> Result<EdgeNames> {
        let (from, to) = (self.text("src")?, self.text("dst")?);
        let weight = if weighted { Some(self.text("weight")?) } else { None };
        let undirected = self.flag("directed")?.is_some_and(|directed| !directed);
        let columns = self.table.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
        let usual =
            |given: Option<String>, usual: &str| given.or_else(|| columns.contains(&usual).then(|| usual.to_owned()));
        // What is named, or called as usual, first; then the first columns that are left.
        let mut ends =
            [usual(from, "src"), usual(to, "dst"), weight.map(|weight| usual(weight, "weight")).unwrap_or_default()];
        for place in 0..if weighted { 3 } else { 2 } {
            if ends[place].is_none() {
                let is_left = |name: &&&str| !ends.iter().flatten().any(|taken| taken.eq_ignore_ascii_case(name));
                let left = columns.iter().find(is_left).map(|name| (*name).to_owned());
                ends[place] = Some(left.ok_or_else(|| {
                    plan_datafusion_err!(
                        "{}: the table of edges has {} columns, {}; name those that are meant: src => …, dst => …",
                        self.function,
                        columns.len(),
                        columns.join(", ")
                    )
                })?);
            }
        }
        let [from, to, weight] = ends;
        Ok(EdgeNames { from: from.unwrap_or_default(), to: to.unwrap_or_default(), weight, undirected })
    }

    fn take(&mut self, name: &'static str) -> Option<ScalarValue> {
        self.known.push(name);
        let at = self.named.iter().position(|(known, _)| known == name)?;
        Some(self.named.remove(at).1)
    }

    fn wrong<T>(&self, name: &str, value: &ScalarValue, wanted: &str) -> Result<T> {
        plan_err!("{}: {name} => {value} should be {wanted}", self.function)
    }

    fn text(&mut self, name: &'static str) -> Result<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text))) => Ok(Some(text)),
            Some(other) => self.wrong(name, &other, "the name of a column, a text"),
        }
    }

    fn flag(&mut self, name: &'static str) -> Result<Option<bool>> {
        match self.take(name) {
            None => Ok(None),
            Some(ScalarValue::Boolean(Some(flag))) => Ok(Some(flag)),
            Some(other) => self.wrong(name, &other, "true or false"),
        }
    }

    fn number(&mut self, name: &'static str) -> Result<Option<f64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.cast_to(&DataType::Float64) {
            Ok(ScalarValue::Float64(Some(number))) if value.data_type().is_numeric() => Ok(Some(number)),
            _ => self.wrong(name, &value, "a number"),
        }
    }

    fn count(&mut self, name: &'static str) -> Result<Option<usize>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.cast_to(&DataType::UInt64) {
            Ok(ScalarValue::UInt64(Some(count))) if value.data_type().is_integer() => Ok(Some(count as usize)),
            _ => self.wrong(name, &value, "a whole number of at least 0"),
        }
    }

    fn vertex(&mut self, name: &'static str) -> Result<Option<Vertex>> {
        match self.take(name) {
            None => Ok(None),
            Some(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text))) => Ok(Some(Vertex::Text(text))),
            Some(other) => match other.cast_to(&DataType::Int64) {
                Ok(ScalarValue::Int64(Some(number))) if other.data_type().is_integer() => {
                    Ok(Some(Vertex::Integer(number)))
                }
                _ => self.wrong(name, &other, "a vertex, an integer or a text"),
            },
        }
    }

    fn source(&mut self) -> Result<Vertex> {
        let source = self.vertex("source")?;
        source.ok_or_else(|| plan_datafusion_err!("{} needs a vertex to start from: source => …", self.function))
    }

    fn nothing_else(&self) -> Result<()> {
        match self.named.first() {
            None => Ok(()),
            Some((name, _)) => {
                plan_err!(
                    "{} has no argument `{name} => …`, or it was given twice; there are {}",
                    self.function,
                    self.known.join(", ")
                )
            }
        }
    }
}

fn literal(value: &Expr) -> Option<ScalarValue> {
    match value {
        Expr::Literal(value, _) if !value.is_null() => Some(value.clone()),
        Expr::Negative(inner) => literal(inner)?.arithmetic_negate().ok(),
        _ => None,
    }
}
