//! stub sort
use crate::pipeline::{Resources, ir::SortSpec};
use arrow::array::*;
use arrow::compute::*;
use arrow::datatypes::DataType;
use bireme_engine::Result;
use bireme_engine::morsel::{CHUNK_ROWS, Chunk, MorselReader, Scan, to_carried, to_logical};
use std::sync::Arc;
pub struct Sorter {
    spec: SortSpec,
    types: Vec<DataType>,
}
pub struct LocalSort {
    types: Vec<DataType>,
    chunks: Vec<Vec<ArrayRef>>,
    rows: usize,
}
impl Sorter {
    pub fn new(spec: SortSpec, types: Vec<DataType>, _: Resources) -> Result<Self> {
        Ok(Self { spec, types })
    }
    pub fn local(&self) -> Result<LocalSort> {
        Ok(LocalSort { types: self.types.clone(), chunks: vec![], rows: 0 })
    }
    pub fn finish(&self, locals: Vec<LocalSort>) -> Result<Arc<dyn Scan>> {
        let rows = locals.iter().map(|l| l.rows).sum::<usize>();
        let chunks = locals.into_iter().flat_map(|l| l.chunks).collect::<Vec<_>>();
        if chunks.is_empty() {
            return Ok(Arc::new(Sorted(vec![], 0)));
        }
        let columns = (0..self.types.len())
            .map(|c| {
                let parts = chunks.iter().map(|chunk| chunk[c].as_ref()).collect::<Vec<_>>();
                Ok(concat(&parts)?)
            })
            .collect::<Result<Vec<_>>>()?;
        if self.types.is_empty() {
            return Ok(Arc::new(Sorted(vec![], rows)));
        }
        let keys = self
            .spec
            .keys
            .iter()
            .map(|k| SortColumn {
                values: columns[k.column].clone(),
                options: Some(SortOptions { descending: k.descending, nulls_first: k.nulls_first }),
            })
            .collect::<Vec<_>>();
        let indices = lexsort_to_indices(&keys, self.spec.fetch)?;
        let columns = columns.iter().map(|c| to_carried(&take(c, &indices, None)?)).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(Sorted(columns, indices.len())))
    }
}
impl LocalSort {
    pub fn consume(&mut self, chunk: &Chunk) -> Result<()> {
        self.rows += chunk.rows;
        self.chunks.push(chunk.columns.iter().zip(&self.types).map(|(c, t)| to_logical(c, t)).collect::<Result<_>>()?);
        Ok(())
    }
}
#[derive(Debug)]
struct Sorted(Vec<ArrayRef>, usize);
impl Scan for Sorted {
    fn morsels(&self) -> usize {
        1
    }
    fn ordered(&self) -> bool {
        true
    }
    fn read(&self, _: usize) -> Result<Box<dyn MorselReader>> {
        Ok(Box::new(R(Chunk::new(self.0.clone(), self.1), 0)))
    }
}
struct R(Chunk, usize);
impl MorselReader for R {
    fn next(&mut self) -> Result<Option<Chunk>> {
        let n = (self.0.rows - self.1).min(CHUNK_ROWS);
        if n == 0 {
            return Ok(None);
        }
        let c = self.0.slice(self.1, n);
        self.1 += n;
        Ok(Some(c))
    }
}
