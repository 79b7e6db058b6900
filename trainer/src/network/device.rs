//! Where the arithmetic happens.

use std::fmt;
use std::str::FromStr;
use std::sync::Once;

use tch::{Cuda, Device, Tensor};

use super::TorchError;

/// A device as the user names it: `auto`, `cpu`, `cuda`, `cuda:1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU where there is one, else the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The GPU of this index.
    Cuda(usize),
}

/// A device that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The text names no device.
    #[error("unknown device `{0}`, expected `auto`, `cpu`, `cuda` or `cuda:INDEX`")]
    Name(String),
    /// libtorch finds no GPU.
    #[error(
        "device `cuda:{0}` is not available: libtorch finds no GPU (is `libtorch_cuda.so` beside `libtorch_cpu.so`, and is there a driver?)"
    )]
    NoGpu(usize),
    /// There are fewer GPUs.
    #[error("device `cuda:{index}` is not available, found {count} GPU(s)")]
    Index {
        /// The index that was asked for.
        index: usize,
        /// How many there are.
        count: i64,
    },
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || DeviceError::Name(text.to_owned());
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", index)) => index.parse().map(Self::Cuda).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl DeviceChoice {
    /// The device on this machine.
    ///
    /// # Errors
    /// If a GPU is asked for that is not there.
    pub fn resolve(self) -> Result<Device, DeviceError> {
        if self == Self::Cpu {
            return Ok(Device::Cpu);
        }
        load_cuda();
        let count = if Cuda::is_available() { Cuda::device_count() } else { 0 };
        let device = match self {
            Self::Auto if count == 0 => Ok(Device::Cpu),
            Self::Auto | Self::Cpu => Ok(Device::Cuda(0)),
            Self::Cuda(index) if count == 0 => Err(DeviceError::NoGpu(index)),
            Self::Cuda(index) if index as i64 >= count => Err(DeviceError::Index { index, count }),
            Self::Cuda(index) => Ok(Device::Cuda(index)),
        };
        Cuda::cudnn_set_benchmark(matches!(device, Ok(Device::Cuda(_))));
        device
    }
}

/// Sets the number of threads that libtorch computes with; `None` leaves its own choice.
///
/// On one thread the same seed gives the same weights bit for bit; on more, sums may be taken in
/// another order.
pub fn set_threads(threads: Option<usize>) {
    if let Some(threads) = threads {
        tch::set_num_threads(i32::try_from(threads.max(1)).unwrap_or(i32::MAX));
    }
}

/// Lets the allocator keep what libtorch frees, for the next batch.
///
/// glibc gives a block of megabytes back to the system at once, so that every activation of every
/// pass is mapped, zeroed and faulted in anew: 6 % of the time of an attack.
pub fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "the allocator is asked through the C library")]
        // SAFETY: `mallopt` only sets parameters of the allocator, at any time.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, libc::c_int::MAX);
            libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
            libc::mallopt(libc::M_TOP_PAD, 64 << 20);
        }
    }
}

/// Makes `f32` on a GPU mean `f32`: libtorch lets cuDNN use TF32 unless NVIDIA's own switch forbids
/// it, which the libraries read when they are loaded. What the environment says goes first.
pub fn forbid_tf32() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if std::env::var_os(TF32_SWITCH).is_none() {
            #[expect(unsafe_code, reason = "there is no other way to set an environment variable")]
            // SAFETY: a command's first act, before it starts a thread or loads the libraries for
            // CUDA, so nobody reads the environment at the same time.
            unsafe {
                std::env::set_var(TF32_SWITCH, "0");
            }
        }
    });
}

/// Whether TF32 may be used, by all of NVIDIA's libraries.
const TF32_SWITCH: &str = "NVIDIA_TF32_OVERRIDE";

/// While it lives, cuDNN does not time its kernels for every new shape: that pays where one shape
/// comes back for hours, and not where the batch shrinks from step to step.
#[derive(Debug)]
pub struct ManyShapes(Device);

impl ManyShapes {
    /// From now on.
    pub fn on(device: Device) -> Self {
        if device.is_cuda() {
            Cuda::cudnn_set_benchmark(false);
        }
        Self(device)
    }
}

impl Drop for ManyShapes {
    fn drop(&mut self) {
        if self.0.is_cuda() {
            Cuda::cudnn_set_benchmark(true);
        }
    }
}

/// A tensor of the processor on `device`, where the device may still be at work on what came
/// before: the host does not wait for it.
pub(crate) fn upload(tensor: &Tensor, device: Device) -> Result<Tensor, TorchError> {
    if !device.is_cuda() {
        return Ok(tensor.f_to_device(device)?);
    }
    // libtorch keeps the pinned copy until the device has read it.
    let pinned = tensor.f_pin_memory(device)?;
    Ok(pinned.f_to_device_(device, tensor.f_kind()?, true, false)?)
}

/// Waits until `device` has done all its work, so that a clock read afterwards is honest.
pub fn synchronise(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index as i64);
    }
}

/// Loads `libtorch_cuda.so` where it is there.
///
/// No symbol of it is used, so the linker drops it and libtorch would never know of the GPU. Its
/// initialisers register the GPU with libtorch, which looks once: so this comes before the first
/// question whether there is one.
fn load_cuda() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[cfg(target_os = "linux")]
        linux::load_beside_libtorch();
    });
}

#[cfg(target_os = "linux")]
mod linux {
    use std::path::PathBuf;

    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

    /// Opens `libtorch_cuda.so` from the folder from which this process has `libtorch_cpu.so`.
    pub(super) fn load_beside_libtorch() {
        let Some(path) = loaded("libtorch_cpu.so").map(|p| p.with_file_name("libtorch_cuda.so"))
        else {
            return;
        };
        if !path.exists() {
            return;
        }
        #[expect(unsafe_code, reason = "there is no safe way to load a library")]
        // SAFETY: this is the library of the same build of libtorch that is already loaded; its
        // initialisers register kernels and touch nothing of ours. It is never unloaded.
        let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) };
        match library {
            Ok(library) => {
                let _ = library.into_raw();
            }
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "cannot load libtorch for CUDA");
            }
        }
    }

    /// The path of a library that this process has loaded.
    fn loaded(name: &str) -> Option<PathBuf> {
        let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
        let path = maps.lines().find_map(|line| {
            let path = line.get(line.find('/')?..)?;
            path.rsplit('/').next().is_some_and(|file| file == name).then_some(path)
        })?;
        Some(PathBuf::from(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_refuses_others() {
        for (text, device) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda", DeviceChoice::Cuda(0)),
            ("cuda:2", DeviceChoice::Cuda(2)),
        ] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap(), device);
        }
        for text in ["gpu", "cuda:", "cuda:x", "cpu:0", ""] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
        assert_eq!(DeviceChoice::Cpu.resolve().unwrap(), Device::Cpu);
        let far = DeviceChoice::Cuda(999).resolve().unwrap_err().to_string();
        assert!(far.contains("cuda:999"), "{far}");
    }
}
