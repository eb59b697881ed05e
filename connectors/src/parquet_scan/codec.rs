//! Decompression of pages into buffers of a pool.
//!
//! Snappy, Zstandard and raw LZ4 are decoded straight into the pool's memory. The rare codecs (gzip, Brotli, LZ4 in
//! Hadoop's frames) go through the `parquet` crate: its page reader is given the one page.

use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::page::PageReader;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::serialized_reader::SerializedPageReader;

use super::buffers::{Bytes, PageBuffer, Pool};
use super::damage::{Damage, Decoded};
use super::page_header::{PageHeader, PageKind};

/// Decompresses the pages of one column chunk.
pub(super) struct Codec {
    compression: Compression,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl Codec {
    pub(super) fn new(compression: Compression) -> Self {
        Self { compression, zstd: None }
    }

    /// Whether pages are stored as they are.
    pub(super) fn is_plain(&self) -> bool {
        self.compression == Compression::UNCOMPRESSED
    }

    /// Decompresses `stored` into `out`, which it must fill.
    ///
    /// Snappy is most of what a scan costs where dictionaries are large. A decoder of our own that takes a literal and
    /// the copy behind it at once was tried: 1.4 GB/s on numbers, as `snap`, and half of `snap`'s 2 GB/s on text. On
    /// numbers both wait for the zeros, which are copied from zeros that were copied just before.
    fn fill(&mut self, stored: &[u8], out: &mut [u8]) -> Decoded<()> {
        let filled = match self.compression {
            Compression::SNAPPY => {
                snap::raw::Decoder::new().decompress(stored, out).map_err(|error| Damage::new(error.to_string()))?
            }
            Compression::ZSTD(_) => {
                if self.zstd.is_none() {
                    let made = zstd::bulk::Decompressor::new().map_err(|error| Damage::new(error.to_string()))?;
                    self.zstd = Some(made);
                }
                let Some(zstd) = &mut self.zstd else { return Err(Damage::internal("no decompressor")) };
                zstd.decompress_to_buffer(stored, out).map_err(|error| Damage::new(error.to_string()))?
            }
            Compression::LZ4_RAW => {
                lz4_flex::block::decompress_into(stored, out).map_err(|error| Damage::new(error.to_string()))?
            }
            _ => return Err(Damage::internal("a codec without a decoder")),
        };
        if filled == out.len() { Ok(()) } else { Err(Damage::new("a page has another size than its header says")) }
    }

    fn is_native(&self) -> bool {
        matches!(self.compression, Compression::SNAPPY | Compression::ZSTD(_) | Compression::LZ4_RAW)
    }

    /// The decompressed bytes of a page, levels of a second-version page included; `page` are its header and body.
    pub(super) fn page(
        &mut self,
        page: Bytes,
        header: &PageHeader,
        chunk: &ColumnChunkMetaData,
        pool: &Arc<Pool>,
    ) -> Decoded<Bytes> {
        let stored = page.slice(header.header..page.len())?;
        let levels = match header.kind {
            PageKind::DataV2 { repetition_bytes, definition_bytes, compressed } => {
                if !compressed {
                    return Ok(stored);
                }
                repetition_bytes + definition_bytes
            }
            _ => 0,
        };
        if self.is_plain() {
            return Ok(stored);
        }
        if levels > stored.len() || levels > header.plain {
            return Err(Damage::new("levels are longer than their page"));
        }
        if header.plain as i64 > chunk.uncompressed_size().max(0) {
            return Err(Damage::new("a page is larger than its column"));
        }
        if !self.is_native() {
            return through_crate(&page, header, chunk, pool);
        }
        let mut out = pool.take(header.plain)?;
        out[..levels].copy_from_slice(&stored.as_slice()[..levels]);
        let body = &stored.as_slice()[levels..];
        // Nothing but NULLs: some writers store no compressed body at all.
        if header.plain > levels || !body.is_empty() {
            self.fill(body, &mut out[levels..header.plain])?;
        }
        Ok(Bytes::new(&PageBuffer::new(out, pool), 0..header.plain))
    }
}

/// Lets the crate's page reader decompress one page.
fn through_crate(page: &Bytes, header: &PageHeader, chunk: &ColumnChunkMetaData, pool: &Arc<Pool>) -> Decoded<Bytes> {
    let bytes = bytes::Bytes::copy_from_slice(page.as_slice());
    let damage = |error: parquet::errors::ParquetError| Damage::new(error.to_string());
    let alone = chunk
        .clone()
        .into_builder()
        .set_dictionary_page_offset(None)
        .set_data_page_offset(0)
        .set_total_compressed_size(bytes.len() as i64)
        .build()
        .map_err(damage)?;
    let mut reader = SerializedPageReader::new(Arc::new(bytes), &alone, header.values, None).map_err(damage)?;
    let Some(read) = reader.get_next_page().map_err(damage)? else {
        return Err(Damage::new("a page cannot be decompressed"));
    };
    let plain = read.buffer();
    let mut out = pool.take(plain.len())?;
    out[..plain.len()].copy_from_slice(plain);
    Ok(Bytes::new(&PageBuffer::new(out, pool), 0..plain.len()))
}
