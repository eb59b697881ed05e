//! The reader of a morsel.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bireme_engine::Error;
use bireme_engine::Result;
use bireme_engine::morsel::{Chunk, MorselReader, to_carried};

use super::decoder::TextDecoder;
use super::lines::Lines;
use super::{Morsel, Opened};
use crate::file_part::repeated;
use crate::passing::passing;

/// Parses the lines of one morsel into chunks.
pub(super) struct TextReader {
    scan: Arc<Opened>,
    morsel: Morsel,
    lines: Lines,
    decoder: TextDecoder,
    ended: bool,
}

impl TextReader {
    pub(super) fn open(scan: &Arc<Opened>, morsel: Morsel) -> Result<Self> {
        let lines = Lines::open(scan, &morsel);
        let lines = lines.map_err(|error| scan.explain(&morsel, error.into()))?;
        let decoder = TextDecoder::new(scan, &morsel).map_err(|error| scan.explain(&morsel, error.into()))?;
        Ok(Self { scan: Arc::clone(scan), morsel, lines, decoder, ended: false })
    }

    fn chunk(&self, batch: &RecordBatch) -> Result<Chunk> {
        let scan = &self.scan;
        let constants = &scan.parts[self.morsel.part].constants;
        passing(&scan.request, batch.num_rows(), |place| {
            if let Some(value) = constants.value(place) {
                return repeated(value, batch.num_rows());
            }
            match scan.decoded.binary_search(&place) {
                Ok(at) => to_carried(batch.column(at)),
                Err(_) => Err(Error::internal(format!("column {place} was not decoded"))),
            }
        })
    }
}

impl MorselReader for TextReader {
    fn next(&mut self) -> Result<Option<Chunk>> {
        while !self.ended {
            let decoded = self.decoder.next(&mut self.lines);
            let Some(batch) = decoded.map_err(|error| self.scan.explain(&self.morsel, error))? else {
                self.ended = true;
                self.scan.check_end(&self.morsel, self.decoder.quotes())?;
                break;
            };
            let chunk = self.chunk(&batch)?;
            if chunk.rows > 0 {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }
}
