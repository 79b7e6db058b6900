//! Where sessions compute: ONNX Runtime's execution providers.

use std::fmt;
use std::str::FromStr;

use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};

/// An execution provider that computes float32 as float32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provider {
    /// ONNX Runtime's own kernels, in every build.
    #[default]
    Cpu,
    /// Intel's OpenVINO on the CPU, in builds that have it.
    OpenVino,
    /// NVIDIA GPUs, in builds that have it.
    Cuda,
    /// XNNPACK, in builds that have it.
    Xnnpack,
}

/// The numbers that gradients are computed in; what breaks is decided in float32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// float32.
    #[default]
    Float32,
    /// bfloat16 in convolutions and products of matrices.
    Bf16,
}

/// Where a classifier's sessions compute, and how precisely they steer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Engine {
    provider: Provider,
    steering: Precision,
}

/// A name of no provider or precision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} `{found}`, expected {expected}")]
pub struct NameError {
    what: &'static str,
    found: String,
    expected: &'static str,
}

/// A precision that a provider does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("provider `{provider}` steers in float32 only, expected `openvino` for bf16")]
pub struct PrecisionError {
    /// The provider.
    pub provider: Provider,
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::OpenVino => "openvino",
            Self::Cuda => "cuda",
            Self::Xnnpack => "xnnpack",
        })
    }
}

impl FromStr for Provider {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let found = || text.to_owned();
        let expected = "`cpu`, `openvino`, `cuda` or `xnnpack`";
        let named = Self::ALL.into_iter().find(|provider| provider.to_string() == text);
        named.ok_or_else(|| NameError { what: "provider", found: found(), expected })
    }
}

impl FromStr for Precision {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "float32" => Ok(Self::Float32),
            "bf16" => Ok(Self::Bf16),
            _ => {
                let (found, expected) = (text.to_owned(), "`float32` or `bf16`");
                Err(NameError { what: "precision", found, expected })
            }
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float32 => "float32",
            Self::Bf16 => "bf16",
        })
    }
}

impl Provider {
    const ALL: [Self; 4] = [Self::Cpu, Self::OpenVino, Self::Cuda, Self::Xnnpack];

    /// ONNX Runtime's name of it: `CPUExecutionProvider`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPUExecutionProvider",
            Self::OpenVino => "OpenVINOExecutionProvider",
            Self::Cuda => "CUDAExecutionProvider",
            Self::Xnnpack => "XnnpackExecutionProvider",
        }
    }

    /// The provider of that [`name`](Self::name).
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.name() == name)
    }
}

impl Engine {
    /// Sessions on `provider` that steer in `steering`.
    ///
    /// # Errors
    /// If the provider does not have that precision.
    pub fn new(provider: Provider, steering: Precision) -> Result<Self, PrecisionError> {
        if steering == Precision::Bf16 && provider != Provider::OpenVino {
            return Err(PrecisionError { provider });
        }
        Ok(Self { provider, steering })
    }

    /// The provider.
    pub fn provider(self) -> Provider {
        self.provider
    }

    /// The precision of gradients.
    pub fn steering(self) -> Precision {
        self.steering
    }

    /// The engine of sessions that judge: the same, in float32.
    pub(super) fn judging(self) -> Self {
        Self { steering: Precision::Float32, ..self }
    }

    /// How it is registered, on one thread; `None` for what needs no registration.
    pub(super) fn dispatch(self) -> Option<ExecutionProviderDispatch> {
        let dispatch = match self.provider {
            Provider::Cpu => return None,
            Provider::OpenVino => {
                // OpenVINO computes in bf16 by itself where the CPU can, so it is told always. Its
                // workers would all choose the same core if they were pinned.
                let precision = match self.steering {
                    Precision::Float32 => "f32",
                    Precision::Bf16 => "bf16",
                };
                let config = format!(
                    r#"{{"CPU":{{"INFERENCE_PRECISION_HINT":"{precision}","INFERENCE_NUM_THREADS":"1","NUM_STREAMS":"1","ENABLE_CPU_PINNING":"NO"}}}}"#
                );
                let provider = ep::OpenVINO::default().with_device_type("CPU");
                provider.with_arbitrary_config("load_config", config).build()
            }
            Provider::Cuda => ep::CUDA::default().with_tf32(false).build(),
            Provider::Xnnpack => ep::XNNPACK::default().build(),
        };
        Some(dispatch.error_on_failure())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_openvino_steers_in_bf16() {
        for provider in Provider::ALL {
            assert_eq!(Provider::named(provider.name()), Some(provider));
            assert_eq!(provider.to_string().parse(), Ok(provider));
            assert!(Engine::new(provider, Precision::Float32).is_ok());
            let bf16 = Engine::new(provider, Precision::Bf16);
            assert_eq!(bf16.is_ok(), provider == Provider::OpenVino);
            if let Ok(engine) = bf16 {
                assert_eq!(engine.judging().steering(), Precision::Float32);
            }
        }
        for precision in [Precision::Float32, Precision::Bf16] {
            assert_eq!(precision.to_string().parse(), Ok(precision));
        }
        assert!("gpu".parse::<Provider>().unwrap_err().to_string().contains("`cuda`"));
        let message = PrecisionError { provider: Provider::Cpu }.to_string();
        assert!(message.contains("`openvino`"), "{message}");
    }
}
