//! Finding and loading ONNX Runtime's shared library.
//!
//! Rift links no native library: it opens ONNX Runtime when it is first needed, from the places
//! that [`load`] names, and an error lists every one that was looked at.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;

use super::Provider;

/// The variable that keeps ONNX Runtime from sending data about its use.
const TELEMETRY_SWITCH: &str = "ORT_DISABLE_TELEMETRY";
/// The variable that names the library, as the flag `--onnxruntime` does.
const RIFT_VARIABLE: &str = "RIFT_ONNXRUNTIME";
/// The variable of the `ort` crate that names the library.
const ORT_VARIABLE: &str = "ORT_DYLIB_PATH";

/// ONNX Runtime, loaded for the whole life of the process.
#[derive(Debug)]
pub struct Library {
    environment: Environment,
    path: PathBuf,
}

impl Library {
    /// The environment in which sessions are built.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The file that was loaded; a bare name where the system's loader found it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// ONNX Runtime's version: `1.31.1`.
    ///
    /// The release branch in its build information names it; where a build of one's own names none,
    /// the file's name or that whole text has to do.
    pub fn version(&self) -> String {
        let info = ort::info();
        let branch = info.split("git-branch=").nth(1).and_then(|rest| rest.split(',').next());
        let name = self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let in_branch = branch.and_then(|branch| branch.strip_prefix("rel-"));
        let in_name = name.split(".so.").nth(1).filter(|version| version.contains('.'));
        in_name.or(in_branch).unwrap_or(info).to_owned()
    }
}

/// ONNX Runtime's library cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// None of the known places holds it.
    #[error(
        "the library of ONNX Runtime was not found, looked at {}; run `make setup`, or name the \
         file by `--onnxruntime` or `{RIFT_VARIABLE}`",
        .looked_at.join(", ")
    )]
    NotFound {
        /// Every place that was looked at, with what was wrong there.
        looked_at: Vec<String>,
    },
    /// The file that was asked for does not load.
    #[error("cannot load ONNX Runtime from `{path}`, named by {named_by}: {reason}")]
    Load {
        /// The file.
        path: String,
        /// The flag or variable that names it.
        named_by: &'static str,
        /// Why it does not load.
        reason: String,
    },
    /// The library loads but does not start.
    #[error("ONNX Runtime does not start")]
    Start(#[source] ort::Error),
}

/// Keeps ONNX Runtime from sending data about its use, and from writing the files that it would
/// send it from.
///
/// Official builds from 1.29 on do both by default, and the switch in their API comes too late: only
/// the environment variable, set before the library starts, keeps them silent. Programs call this
/// as the first act of `main`; [`load`] calls it again for those who use the crate as a library.
pub fn silence_telemetry() {
    if std::env::var_os(TELEMETRY_SWITCH).is_some_and(|value| value == "1") {
        return;
    }
    #[expect(unsafe_code, reason = "`std::env::set_var` is unsafe in edition 2024")]
    // SAFETY: in a program this runs before any second thread. In a library it runs before ONNX
    // Runtime is loaded, and Rust's own readers of the environment share a lock with this writer.
    unsafe {
        std::env::set_var(TELEMETRY_SWITCH, "1");
    }
}

/// Loads ONNX Runtime, once a process; later calls return what the first one loaded.
///
/// The file is `explicit`, or the one that `RIFT_ONNXRUNTIME` or `ORT_DYLIB_PATH` names, and then no
/// other will do. Without these, the first that loads of: beside the executable; where a package puts
/// it, `../lib/rift` from there; the Python wheel in `.venv` of the working directory, of the folders
/// above it and of those above the executable; the wheel in `$VIRTUAL_ENV`; what the system's loader
/// finds.
///
/// # Errors
/// If the file that was named does not load, or none of the places holds one that does.
pub fn load(explicit: Option<&Path>) -> Result<&'static Library, LibraryError> {
    load_for(explicit, Provider::Cpu)
}

static LIBRARY: OnceLock<Library> = OnceLock::new();

/// The library, if it has been loaded.
pub fn loaded() -> Option<&'static Library> {
    LIBRARY.get()
}

/// As [`load`]; for a provider with a library of its own, the folder that `make setup-…` puts it in
/// is looked at first: `.openvino`, in the working directory and the other folders that [`load`]
/// looks at.
///
/// # Errors
/// As [`load`].
pub fn load_for(
    explicit: Option<&Path>,
    provider: Provider,
) -> Result<&'static Library, LibraryError> {
    static LOADING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(library) = LIBRARY.get() {
        return Ok(library);
    }
    silence_telemetry();
    let library = open(explicit, provider)?;
    tracing::debug!(path = %library.path.display(), "loaded ONNX Runtime");
    Ok(LIBRARY.get_or_init(|| library))
}

fn open(explicit: Option<&Path>, provider: Provider) -> Result<Library, LibraryError> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let named = explicit
        .map(|path| (path.to_owned(), "`--onnxruntime`"))
        .or_else(|| variable(RIFT_VARIABLE).map(|path| (path.into(), "`RIFT_ONNXRUNTIME`")))
        .or_else(|| variable(ORT_VARIABLE).map(|path| (path.into(), "`ORT_DYLIB_PATH`")));
    if let Some((path, named_by)) = named {
        let fail = |reason| {
            let path = path.display().to_string();
            LibraryError::Load { path, named_by, reason }
        };
        // A relative path means the working directory, as everywhere on the command line.
        let file = std::path::absolute(&path).map_err(|error| fail(error.to_string()))?;
        if !file.is_file() {
            return Err(fail("it is no file".to_owned()));
        }
        let builder = ort::init_from(&file).map_err(|error| fail(error.to_string()))?;
        return start(builder, file);
    }
    let mut looked_at = Vec::new();
    for place in places(provider) {
        let files = place.files();
        if files.is_empty() {
            looked_at.push(format!("`{}`", place.pattern().display()));
        }
        for file in files {
            match ort::init_from(&file) {
                Ok(builder) => return start(builder, file),
                Err(error) => looked_at.push(format!("`{}` ({error})", file.display())),
            }
        }
    }
    Err(LibraryError::NotFound { looked_at })
}

fn start(
    builder: ort::environment::EnvironmentBuilder,
    path: PathBuf,
) -> Result<Library, LibraryError> {
    // Without a logger of ours, ONNX Runtime writes its messages on standard error itself.
    let logger =
        Arc::new(|level: LogLevel, _: &str, id: &str, location: &str, message: &str| match level {
            LogLevel::Fatal | LogLevel::Error | LogLevel::Warning => {
                tracing::debug!(target: "onnxruntime", id, location, "{message}");
            }
            LogLevel::Info | LogLevel::Verbose => {
                tracing::trace!(target: "onnxruntime", id, location, "{message}");
            }
        });
    let environment =
        builder.with_name("rift").with_logger(logger).build().map_err(LibraryError::Start)?;
    environment.set_log_level(LogLevel::Warning);
    Ok(Library { environment, path })
}

/// A place where the library may be.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// A folder that holds the library itself.
    Folder(PathBuf),
    /// A Python environment with the wheel.
    Venv(PathBuf),
    /// A name for the system's loader.
    System(&'static str),
}

#[cfg(target_os = "macos")]
const SYSTEM_NAMES: [&str; 1] = ["libonnxruntime.dylib"];
#[cfg(not(target_os = "macos"))]
const SYSTEM_NAMES: [&str; 2] = ["libonnxruntime.so", "libonnxruntime.so.1"];

fn is_library(name: &str) -> bool {
    if cfg!(target_os = "macos") {
        name.strip_suffix(".dylib").is_some_and(|stem| stem.starts_with("libonnxruntime."))
    } else {
        name.starts_with("libonnxruntime.so")
    }
}

/// Every place, in the order in which they are tried.
fn places(provider: Provider) -> Vec<Place> {
    let mut places = Vec::new();
    let executable = std::env::current_exe().ok();
    let beside = executable.as_deref().and_then(Path::parent);
    let here = std::env::current_dir().ok();
    if provider == Provider::OpenVino {
        for folder in [here.as_deref(), beside].into_iter().flatten().flat_map(Path::ancestors) {
            let wheel = Place::Folder(folder.join(".openvino/onnxruntime/capi"));
            if !places.contains(&wheel) {
                places.push(wheel);
            }
        }
    }
    places.extend(beside.map(|folder| Place::Folder(folder.to_owned())));
    let packaged = beside.and_then(Path::parent).map(|prefix| prefix.join("lib/rift"));
    places.extend(packaged.map(Place::Folder));
    for start in [here.as_deref(), beside].into_iter().flatten() {
        for folder in start.ancestors() {
            let venv = Place::Venv(folder.join(".venv"));
            if !places.contains(&venv) {
                places.push(venv);
            }
        }
    }
    places.extend(std::env::var_os("VIRTUAL_ENV").map(|venv| Place::Venv(venv.into())));
    places.extend(SYSTEM_NAMES.map(Place::System));
    places
}

impl Place {
    /// The place as shown to the user.
    fn pattern(&self) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join(SYSTEM_NAMES[0]),
            Self::Venv(venv) => venv.clone(),
            Self::System(name) => PathBuf::from(name),
        }
    }

    /// The files that are there, the newest version first.
    fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Folder(folder) => libraries(folder),
            Self::Venv(venv) => {
                let pythons = entries(&venv.join("lib"), |name| name.starts_with("python3"));
                let capi = |python: PathBuf| python.join("site-packages/onnxruntime/capi");
                pythons.into_iter().flat_map(|python| libraries(&capi(python))).collect()
            }
            Self::System(name) => vec![PathBuf::from(name)],
        }
    }
}

fn libraries(folder: &Path) -> Vec<PathBuf> {
    let mut files = entries(folder, is_library);
    files.retain(|file| file.is_file());
    files.reverse();
    files
}

fn entries(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let is_wanted =
        |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(&wanted);
    let mut paths: Vec<_> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).filter(is_wanted).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_wheel_of_a_python_environment() {
        let folder = tempfile::tempdir().unwrap();
        let capi = folder.path().join("lib/python3.11/site-packages/onnxruntime/capi");
        std::fs::create_dir_all(&capi).unwrap();
        for name in ["libonnxruntime.so.1.31.1", "libonnxruntime_providers_shared.so", "x.py"] {
            std::fs::write(capi.join(name), b"").unwrap();
        }
        let found = Place::Venv(folder.path().to_owned()).files();
        assert_eq!(found, [capi.join("libonnxruntime.so.1.31.1")]);
    }

    #[test]
    fn looks_beside_the_executable_first_and_at_the_system_last() {
        let of_openvino = places(Provider::OpenVino);
        let places = places(Provider::Cpu);
        assert!(matches!(places.first(), Some(Place::Folder(_))), "{places:?}");
        assert!(matches!(&places[1], Place::Folder(folder) if folder.ends_with("lib/rift")));
        assert!(of_openvino.ends_with(&places));
        let first = std::env::current_dir().unwrap().join(".openvino/onnxruntime/capi");
        assert_eq!(of_openvino.first(), Some(&Place::Folder(first)));
        assert_eq!(places.last(), SYSTEM_NAMES.last().map(|name| Place::System(name)).as_ref());
        let here = std::env::current_dir().unwrap().join(".venv");
        assert_eq!(places.iter().filter(|p| **p == Place::Venv(here.clone())).count(), 1);
    }

    #[test]
    fn loads_once_and_knows_its_version() {
        let library = load(None).unwrap();
        assert!(std::ptr::eq(library, load(Some(Path::new("/other"))).unwrap()));
        let version = library.version();
        assert!(version.starts_with("1.") && version.len() < 12, "{version}");
        assert_eq!(std::env::var(TELEMETRY_SWITCH).as_deref(), Ok("1"));
    }

    #[test]
    fn a_file_that_is_no_library_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"not a library").unwrap();
        let error = open(Some(file.path()), Provider::Cpu).unwrap_err().to_string();
        assert!(error.contains(&file.path().display().to_string()), "{error}");
        assert!(error.contains("--onnxruntime"), "{error}");
        let error =
            open(Some(Path::new("/nonexistent/lib.so")), Provider::Cpu).unwrap_err().to_string();
        assert!(error.contains("it is no file"), "{error}");
    }
}
