//! Where CUDA's libraries are.
//!
//! They are looked for in `$CUDA_HOME` and `$CUDA_PATH`, where the system's loader looks, in `/usr/local/cuda`, and in the `nvidia-*`
//! packages of Python environments: the active one, the user's, the system's. `cudarc` asks the loader by name and panics if it finds
//! nothing. A library that was loaded by its path before is found by its name, so what lies elsewhere is loaded first.

use std::path::{Path, PathBuf};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// Loads the libraries whose file names begin like one of `names` (`libnvrtc-builtins.so`, `libnvrtc.so`), all from the first folder that
/// has the last of them. They stay loaded. Says where that is.
pub(super) fn load(names: &[&str]) -> Option<PathBuf> {
    let last = names.last()?;
    let folder = folders().into_iter().find(|folder| file(folder, last).is_some())?;
    let mut loaded = None;
    for name in names {
        let Some(path) = file(&folder, name) else { continue };
        // SAFETY: these are NVIDIA's libraries, which do nothing but set themselves up when they are loaded.
        if let Ok(library) = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) } {
            std::mem::forget(library);
            loaded = Some(path);
        }
    }
    loaded
}

/// The file of a library in a folder: `libnvrtc.so`, or with a version behind.
fn file(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut found = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    found.retain(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name)));
    found.sort();
    found.pop()
}

fn folders() -> Vec<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut folders = Vec::new();
    for home in ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(set).chain([PathBuf::from("/usr/local/cuda")]) {
        folders.extend(["lib64", "lib"].map(|lib| home.join(lib)));
    }
    for packages in python_packages() {
        // CUDA 13's packages share a folder; those of 12 have one each.
        folders.extend(["cu13/lib", "cuda_nvrtc/lib", "cublas/lib"].map(|within| packages.join("nvidia").join(within)));
    }
    folders
}

/// The folders where Python environments have their packages.
fn python_packages() -> Vec<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let homes = ["BIREME_PYTHON_ENV", "VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(set);
    let homes = homes.chain(set("HOME").map(|home| home.join(".local"))).chain(["/usr/local".into(), "/usr".into()]);
    let versions = |home: PathBuf| {
        let within = std::fs::read_dir(home.join("lib")).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_python =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3"));
        let mut found = within.filter(is_python).collect::<Vec<_>>();
        found.sort();
        found.into_iter().rev().flat_map(|python| ["site-packages", "dist-packages"].map(|name| python.join(name)))
    };
    homes.flat_map(versions).collect()
}
