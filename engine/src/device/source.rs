//! Sources of kernels.

/// What every source begins with: names for types, and what the emulator spells in another way.
const PRELUDE: &str = include_str!("prelude.h");

/// Kernels in CUDA C++, without headers.
///
/// Each kernel is `extern "C" __global__ void`. Shared memory of a size that is known at run time is declared by
/// `BIREME_DYNAMIC_SHARED(type, name);`. See `prelude.h` for the names of types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    text: String,
    names: Vec<String>,
}

impl Source {
    /// A text and the kernels in it.
    pub fn new(text: impl Into<String>, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { text: text.into(), names: names.into_iter().map(Into::into).collect() }
    }

    /// The kernels.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// As it is compiled for a GPU.
    pub fn text(&self) -> String {
        format!("{PRELUDE}{}", self.text)
    }

    /// The same source has the same key, and no other.
    pub(super) fn key(&self) -> String {
        format!("{}\n{}", self.names.join(","), self.text)
    }
}
