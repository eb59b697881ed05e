//! NPZ files: several arrays with names, in a zip archive of NPY files.
//!
//! ```text
//!  numpy.savez              x.npy stored      is mapped; NumPy does not align members, so reading mostly copies
//!  numpy.savez_compressed   x.npy deflated    is unpacked into memory when it is opened
//!  NpzWriter                x.npy stored      is aligned, so that reading copies nothing
//! ```
//!
//! Source: PKWARE's APPNOTE 6.3.10, and the documentation of `numpy.savez`. Archives of more than 4 GiB (ZIP64) are
//! read and written. Checksums are compared whenever a whole array is read.

use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::buffer::Buffer;
use bireme_engine::{Error, Result};
use flate2::bufread::DeflateDecoder;
use rawzip::extra_fields::ExtraFieldId;
use rawzip::{CompressionMethod, Header as Place, ZipArchive, ZipArchiveWriter, ZipFileHeaderRecord, ZipSliceArchive};

use super::elements::check_bools;
use super::mapped::Mapped;
use super::{ArrayFile, Checksum, FileType, bytes_of, check_crc, create_new, header, room, shown_shape};

#[cfg(test)]
mod tests;

/// What members are named in the archive, after the names of their arrays.
const ENDING: &str = ".npy";

/// Deflate cannot do better: a match of 258 bytes takes two bits.
const BEST_RATIO: u64 = 1032;

/// Where members start in the files that we write.
const ALIGNMENT: u64 = 64;

/// The extra field with which Android's `zipalign` fills the space before a member: an alignment, then zeros.
const PADDING: ExtraFieldId = ExtraFieldId::new(0xd935);

/// The bytes of a local header without name and extra fields; and of an extra field without its data.
const LOCAL_HEADER: u64 = 30;
const EXTRA_HEADER: u64 = 4;

/// An NPZ file that is open for reading.
///
/// ```
/// use bireme_connectors::array_file::FileType;
/// use bireme_connectors::array_file::npz::{NpzFile, NpzWriter};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("weights.npz");
/// let mut writer = NpzWriter::create(&path)?;
/// writer.add("bias", FileType::F32, &[2], &[0.5_f32, 1.5].map(f32::to_ne_bytes).concat())?;
/// writer.finish()?;
///
/// let file = NpzFile::open(&path)?;
/// assert_eq!(file.names().collect::<Vec<_>>(), ["bias"]);
/// assert_eq!(file.array("bias")?.row_major()?.typed_data::<f32>(), [0.5, 1.5]);
/// # Ok::<(), bireme_engine::Error>(())
/// ```
pub struct NpzFile {
    file: Arc<Mapped>,
    members: Vec<Member>,
}

/// An array in the archive.
struct Member {
    name: String,
    method: CompressionMethod,
    encrypted: bool,
    /// Where its bytes lie in the file, as they are packed.
    packed: Range<usize>,
    /// Its length unpacked.
    size: u64,
    checksum: u32,
}

impl NpzFile {
    /// Maps an NPZ file and reads its directory. What is said of mapped files at [`super::npy::open`] holds here too.
    /// Members that are no NPY files are passed over.
    ///
    /// # Errors
    /// There is no such file; it is no zip archive, or damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let file = Arc::new(Mapped::open(path)?);
        let members = members(file.bytes()).map_err(|error| error.context(format!("reading {}", file.shown())))?;
        Ok(Self { file, members })
    }

    /// The names of the arrays, as they stand in the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.name.as_str())
    }

    /// The array of this name, with or without `.npy`. A deflated one is unpacked now, as a whole.
    ///
    /// # Errors
    /// There is none of that name; it is packed in a way that is not read, or encrypted; it is damaged; memory ran out.
    pub fn array(&self, name: &str) -> Result<ArrayFile> {
        let shown: Arc<str> = format!("{name} of {}", self.file.shown()).into();
        let found = |wanted: &str| self.members.iter().find(|member| member.name == wanted);
        let Some(member) = found(name).or_else(|| found(name.strip_suffix(ENDING)?)) else {
            return Err(self.unknown(name));
        };
        self.file.check_unchanged()?;
        let attempted = |error: Error| error.context(format!("reading {shown}"));
        if member.encrypted {
            return Err(attempted(Error::unsupported("it is encrypted; save it without a password")));
        }
        let packed = self.file.bytes().slice_with_length(member.packed.start, member.packed.len());
        match member.method {
            CompressionMethod::STORE => {
                member.check_size(packed.len() as u64).map_err(attempted)?;
                let array = ArrayFile::parse(shown, &packed, Some(Arc::clone(&self.file)))?;
                Ok(ArrayFile { checksum: Some(Checksum { expected: member.checksum, bytes: packed }), ..array })
            }
            CompressionMethod::DEFLATE => {
                let unpacked = member.unpack(&packed).map_err(attempted)?;
                ArrayFile::parse(shown, &unpacked, None)
            }
            other => Err(attempted(Error::unsupported(format!(
                "it is packed with method {}; save it with numpy.savez or numpy.savez_compressed",
                other.as_u16(),
            )))),
        }
    }

    fn unknown(&self, name: &str) -> Error {
        let shown = self.file.shown();
        let known = match self.members.len() {
            0 => "no arrays".to_owned(),
            many if many <= 20 => self.names().collect::<Vec<_>>().join(", "),
            many => format!("{}, and {} more", self.names().take(20).collect::<Vec<_>>().join(", "), many - 20),
        };
        Error::user(format!("reading array {name} of {shown}: there is none of that name; it has {known}"))
    }
}

impl fmt::Debug for NpzFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NpzFile({}, {:?})", self.file.shown(), self.names().collect::<Vec<_>>())
    }
}

/// The arrays that a zip archive's directory names.
fn members(bytes: &[u8]) -> Result<Vec<Member>> {
    let archive = ZipArchive::from_slice(bytes).map_err(|error| match bytes {
        [0x93, b'N', b'U', ..] => Error::user("it is an NPY file, of one array; read it as an .npy"),
        _ => damaged(&error).context("it is no zip archive, or was cut short"),
    })?;
    let behind = (bytes.len() as u64).saturating_sub(archive.end_offset());
    if behind > 0 {
        return Err(Error::corrupt(format!("{behind} bytes follow after the end of its zip archive")));
    }
    let mut members: Vec<Member> = Vec::new();
    let mut entries = 0;
    for entry in archive.entries() {
        let entry = entry.map_err(|error| damaged(&error).context(format!("entry {entries} of its directory")))?;
        entries += 1;
        let name = String::from_utf8_lossy(entry.file_path().as_ref()).into_owned();
        let Some(name) = name.strip_suffix(ENDING) else { continue };
        if members.iter().any(|known| known.name == name) {
            return Err(Error::corrupt(format!("it has two arrays named {name}")));
        }
        let member = Member::find(&archive, &entry, name).map_err(|error| error.context(format!("array {name}")))?;
        members.push(member);
    }
    if entries != archive.entries_hint() {
        let message = format!("its directory promises {} entries and has {entries}", archive.entries_hint());
        return Err(Error::corrupt(message));
    }
    Ok(members)
}

impl Member {
    fn find(archive: &ZipSliceArchive<&[u8]>, entry: &ZipFileHeaderRecord<'_>, name: &str) -> Result<Self> {
        let outside = || Error::corrupt("it lies outside of the file");
        let packed = archive.get_entry(entry.wayfinder()).map_err(|error| damaged(&error))?.compressed_data_range();
        Ok(Self {
            name: name.to_owned(),
            method: entry.compression_method(),
            encrypted: entry.flags().is_encrypted(),
            packed: usize::try_from(packed.0).map_err(|_| outside())?
                ..usize::try_from(packed.1).map_err(|_| outside())?,
            size: entry.uncompressed_size_hint(),
            checksum: entry.crc32(),
        })
    }

    fn unpack(&self, packed: &[u8]) -> Result<Buffer> {
        if self.size / BEST_RATIO > packed.len() as u64 {
            let message = format!("{} bytes cannot be the packed form of {}", packed.len(), self.size);
            return Err(Error::corrupt(message));
        }
        // One byte more than is promised, so that more is noticed.
        let mut bytes = room(usize::try_from(self.size).unwrap_or(usize::MAX).saturating_add(1))?;
        let mut unpacked = DeflateDecoder::new(packed).take(self.size + 1);
        unpacked.read_to_end(&mut bytes).map_err(|error| Error::corrupt(format!("unpacking it: {error}")))?;
        if bytes.len() as u64 > self.size {
            return Err(Error::corrupt(format!(
                "it unpacks to more than the {} bytes that the archive promises",
                self.size
            )));
        }
        self.check_size(bytes.len() as u64)?;
        check_crc(&bytes, self.checksum)?;
        Ok(Buffer::from_vec(bytes))
    }

    fn check_size(&self, found: u64) -> Result<()> {
        if found == self.size {
            return Ok(());
        }
        Err(Error::corrupt(format!("it has {found} bytes where the archive promises {}", self.size)))
    }
}

fn damaged(error: &rawzip::Error) -> Error {
    Error::corrupt(error.to_string())
}

/// An NPZ file that is being written: arrays one after the other, not compressed, each aligned so that it can be mapped.
///
/// It cannot be read before [`NpzWriter::finish`].
pub struct NpzWriter {
    zip: ZipArchiveWriter<BufWriter<File>>,
    path: PathBuf,
    names: Vec<String>,
}

impl NpzWriter {
    /// Creates the file.
    ///
    /// # Errors
    /// The file exists or cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        let file = BufWriter::with_capacity(1 << 20, create_new(path)?);
        Ok(Self { zip: ZipArchiveWriter::new(file), path: path.to_path_buf(), names: Vec::new() })
    }

    /// Adds an array. Its bytes are its elements row by row, in this machine's order of bytes.
    ///
    /// # Errors
    /// The name was given before, or is none for a file; the bytes are not those of such a shape, or no truth values;
    /// the disk is full.
    pub fn add(&mut self, name: &str, dtype: FileType, shape: &[usize], bytes: &[u8]) -> Result<()> {
        let attempted = format!("adding array {name} to {}", self.path.display());
        self.check(name, dtype, shape, bytes).map_err(|error| Error::user(error.message()).context(&attempted))?;
        let header = header::format(dtype, shape).map_err(|error| error.context(&attempted))?;
        self.write(&format!("{name}{ENDING}"), &header, bytes).map_err(|error| written(error).context(&attempted))?;
        self.names.push(name.to_owned());
        Ok(())
    }

    /// Writes the archive's directory.
    ///
    /// # Errors
    /// The disk is full.
    pub fn finish(self) -> Result<()> {
        let finished = self.zip.finish().and_then(|mut file| Ok(file.flush()?));
        finished.map_err(|error| written(error).context(format!("writing {}", self.path.display())))
    }

    fn check(&self, name: &str, dtype: FileType, shape: &[usize], bytes: &[u8]) -> Result<()> {
        // Zip programs unpack members as files; such names would be changed or refused.
        let plain = name.split('/').all(|part| !matches!(part, "" | "." | "..")) && !name.contains(['\\', '\0']);
        if !plain || name.len() > 1 << 10 {
            return Err(Error::user("its name is none for a file; use letters, digits and _"));
        }
        if self.names.iter().any(|known| known == name) {
            return Err(Error::user("there is an array of that name already"));
        }
        let expected = bytes_of(dtype.size(), shape)?;
        if bytes.len() != expected {
            let shape = shown_shape(shape);
            let message = format!("shape {shape} of {dtype} has {expected} bytes, and {} were given", bytes.len());
            return Err(Error::user(message));
        }
        if dtype == FileType::Bool { check_bools(bytes, 0) } else { Ok(()) }
    }

    fn write(&mut self, name: &str, header: &[u8], bytes: &[u8]) -> Result<(), rawzip::Error> {
        let before = self.zip.stream_offset() + LOCAL_HEADER + name.len() as u64 + EXTRA_HEADER + 2;
        let mut padding = vec![0; 2 + (before.next_multiple_of(ALIGNMENT) - before) as usize];
        padding[..2].copy_from_slice(&(ALIGNMENT as u16).to_le_bytes());
        let member = self.zip.new_file(name).extra_field(PADDING, &padding, Place::LOCAL)?;

        let mut crc = flate2::Crc::new();
        crc.update(header);
        crc.update(bytes);
        let (mut entry, config) = member.crc32(rawzip::Crc32Option::Custom(crc.sum())).start()?;
        let mut data = config.wrap(&mut entry);
        data.write_all(header)?;
        data.write_all(bytes)?;
        let (_, described) = data.finish()?;
        entry.finish(described)?;
        Ok(())
    }
}

impl fmt::Debug for NpzWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NpzWriter({}, {:?})", self.path.display(), self.names)
    }
}

fn written(error: rawzip::Error) -> Error {
    match error.into_kind() {
        rawzip::ErrorKind::IO(error) => Error::from(error),
        other => Error::internal(format!("{other:?}")),
    }
}
