//! The shape of a column's tensors, in the metadata of its field.
//!
//! ```text
//!  ARROW:extension:name       arrow.fixed_shape_tensor
//!  ARROW:extension:metadata   {"shape":[2,3]}
//!                             {"shape":[2,3],"permutation":[1,0]}     stored as 2 × 3, meant as 3 × 2
//! ```
//!
//! Axis `i` of what is meant is axis `permutation[i]` of what is stored. Names of axes are read over. The text is read here and not by
//! arrow's type, which has no way to ask for the shape and spells the key `permutations`; both spellings are understood.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use serde_json::Value;

const NAME_KEY: &str = "ARROW:extension:name";
const METADATA_KEY: &str = "ARROW:extension:metadata";
const NAME: &str = "arrow.fixed_shape_tensor";

/// The shape of tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Extents as stored, row-major.
    stored: Vec<usize>,
    /// The stored axis of each axis that is meant; none: they are the same.
    permutation: Option<Vec<usize>>,
}

impl Shape {
    /// Tensors of these extents, row-major.
    pub fn new(stored: Vec<usize>) -> Self {
        Self { stored, permutation: None }
    }

    /// That of a field's tensors, if it says one.
    ///
    /// # Errors
    /// The metadata contradict themselves or the type.
    pub fn of(field: &Field) -> Result<Option<Self>> {
        if field.metadata().get(NAME_KEY).map(String::as_str) != Some(NAME) {
            return Ok(None);
        }
        let text = field.metadata().get(METADATA_KEY).map_or("", String::as_str);
        let wrong = |what: &str| {
            exec_datafusion_err!("column `{}`: {what} in the metadata of its tensors: {text}", field.name())
        };
        let said: Value = serde_json::from_str(text).map_err(|error| wrong(&format!("no JSON ({error})")))?;
        let list = |key: &str| match said.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => numbers(value).map(Some).ok_or_else(|| wrong(&format!("no list of numbers as `{key}`"))),
        };
        let stored = list("shape")?.ok_or_else(|| wrong("no `shape`"))?;
        let permutation = match list("permutation")? {
            Some(found) => Some(found),
            None => list("permutations")?,
        };
        if let Some(axes) = &permutation {
            let mut sorted = axes.clone();
            sorted.sort_unstable();
            if sorted != (0..stored.len()).collect::<Vec<_>>() {
                return Err(wrong("no permutation of the axes"));
            }
        }
        let elements = stored.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
        match field.data_type() {
            DataType::FixedSizeList(_, size) if usize::try_from(*size).ok() == elements => {}
            other => return Err(wrong(&format!("a shape that does not fit {other}"))),
        }
        let permutation = permutation.filter(|axes| !axes.is_sorted());
        Ok(Some(Self { stored, permutation }))
    }

    /// Extents as meant.
    pub fn extents(&self) -> Vec<usize> {
        match &self.permutation {
            Some(axes) => axes.iter().map(|&axis| self.stored[axis]).collect(),
            None => self.stored.clone(),
        }
    }

    /// Whether elements are stored in another order than the row-major one of what is meant.
    pub fn is_permuted(&self) -> bool {
        self.permutation.is_some()
    }

    /// The field of a column of such tensors.
    ///
    /// # Errors
    /// A tensor would have more elements than a list can have.
    pub fn field(&self, name: &str, element: DataType, nullable: bool) -> Result<Field> {
        let elements = self.stored.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
        let Some(size) = elements.and_then(|elements| i32::try_from(elements).ok()) else {
            return exec_err!("{name}: a tensor of shape {:?} has more elements than a list can have", self.stored);
        };
        let element = Field::new_list_field(element, true);
        let field = Field::new(name, DataType::FixedSizeList(Arc::new(element), size), nullable);
        Ok(field.with_metadata(self.metadata()))
    }

    fn metadata(&self) -> HashMap<String, String> {
        let text = match &self.permutation {
            Some(axes) => format!("{{\"shape\":{},\"permutation\":{}}}", listed(&self.stored), listed(axes)),
            None => format!("{{\"shape\":{}}}", listed(&self.stored)),
        };
        HashMap::from([(NAME_KEY.to_owned(), NAME.to_owned()), (METADATA_KEY.to_owned(), text)])
    }
}

fn listed(numbers: &[usize]) -> String {
    format!("[{}]", numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}

fn numbers(value: &Value) -> Option<Vec<usize>> {
    value.as_array()?.iter().map(|one| one.as_u64().and_then(|one| usize::try_from(one).ok())).collect()
}
