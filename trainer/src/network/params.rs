//! Parameters by name: which of them train, and their way to files and back.

use ndarray::{ArrayD, IxDyn};
use rift_models::arch::{Parameter, UnknownModule};
use rift_models::artifact::{TensorMap, apply};
use tch::{Device, Kind, Tensor};

use super::{Network, NetworkError, Precision, TorchError};

impl Network {
    /// Every parameter and buffer with its values, in network order.
    pub fn entries(&self) -> impl Iterator<Item = (&Parameter, &Tensor)> {
        self.entries.iter().map(|e| (&e.parameter, &e.tensor))
    }

    /// The parameters that take gradients now, in network order.
    pub fn trained(&self) -> impl Iterator<Item = (&Parameter, &Tensor)> {
        self.entries().filter(|(_, tensor)| tensor.requires_grad())
    }

    /// The parameter or buffer of this full name: `layer1.0.conv1.weight`.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.index.get(name).map(|i| &self.entries[*i].tensor)
    }

    /// Lets no parameter take gradients.
    pub fn freeze(&self) -> Result<(), TorchError> {
        self.train_where(|_| false)
    }

    /// Lets every parameter take gradients; running statistics never do.
    pub fn unfreeze(&self) -> Result<(), TorchError> {
        self.train_where(|_| true)
    }

    /// Lets the parameters of the modules with exactly these names take gradients, and no others.
    ///
    /// # Errors
    /// If a name is not a module's; the error offers near ones.
    pub fn train_modules(&self, names: &[&str]) -> Result<(), TrainModulesError> {
        let nodes = names
            .iter()
            .map(|name| self.graph.module(name))
            .collect::<Result<Vec<usize>, UnknownModule>>()?;
        Ok(self.train_where(|parameter| nodes.contains(&parameter.node))?)
    }

    /// Lets exactly the parameters take gradients that `chosen` says.
    pub fn train_where(&self, chosen: impl Fn(&Parameter) -> bool) -> Result<(), TorchError> {
        for (parameter, tensor) in self.entries() {
            let trains = parameter.spec.role.is_trained() && chosen(parameter);
            let _ = tensor.f_set_requires_grad(trains)?;
        }
        Ok(())
    }

    /// All parameters and buffers, as a checkpoint holds them.
    pub fn state(&self) -> Result<TensorMap, TorchError> {
        self.entries().map(|(p, tensor)| Ok((p.name.clone(), to_array(tensor)?))).collect()
    }

    /// Overwrites all parameters and buffers in place; which of them train does not change.
    ///
    /// # Errors
    /// If the tensors are not exactly the network's.
    pub fn set_state(&self, tensors: &TensorMap) -> Result<(), NetworkError> {
        apply::check(&self.graph, tensors)?;
        tch::no_grad(|| {
            for (parameter, tensor) in self.entries() {
                let values = to_tensor(&tensors[&parameter.name], self.device)?;
                tensor.shallow_clone().f_copy_(&values)?;
            }
            Ok(())
        })
    }

    /// A network of its own with the same values, of which nothing trains.
    pub fn copy(&self) -> Result<Self, TorchError> {
        let values =
            self.entries().map(|(_, t)| Ok(t.f_detach()?.f_to_dtype(t.f_kind()?, false, true)?));
        let values = values.collect::<Result<Vec<_>, TorchError>>()?;
        let network = Self::assemble(self.graph.clone(), values, self.device)?;
        Ok(network.with_precision(self.precision))
    }

    /// The same tensors, seen by a network of which nothing trains: a change of one changes the
    /// other.
    pub fn frozen(&self) -> Result<Self, TorchError> {
        let values = self.entries().map(|(_, t)| Ok(t.f_detach()?));
        let values = values.collect::<Result<Vec<_>, TorchError>>()?;
        let network = Self::assemble(self.graph.clone(), values, self.device)?;
        Ok(network.with_precision(self.precision))
    }

    /// The same values in `f64`, which other arithmetic is held against; nothing trains.
    pub(crate) fn in_double(&self) -> Result<Self, TorchError> {
        let values = self.entries().map(|(_, t)| Ok(t.f_detach()?.f_to_kind(Kind::Double)?));
        let values = values.collect::<Result<Vec<_>, TorchError>>()?;
        Self::assemble(self.graph.clone(), values, self.device)
    }

    /// The same tensors, seen by a network that computes in `f32` and of which nothing trains: the
    /// one that decides.
    pub fn exact(&self) -> Result<Self, TorchError> {
        Ok(self.frozen()?.with_precision(Precision::Float32))
    }
}

/// Modules that cannot be chosen for training.
#[derive(Debug, thiserror::Error)]
pub enum TrainModulesError {
    /// A name that is not a module's.
    #[error(transparent)]
    Module(#[from] UnknownModule),
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

/// Values on a device.
///
/// # Errors
/// If the device has too little memory.
pub fn to_tensor(values: &ArrayD<f32>, device: Device) -> Result<Tensor, TorchError> {
    let shape: Vec<i64> = values.shape().iter().map(|n| *n as i64).collect();
    let values = values.as_standard_layout();
    let tensor = Tensor::f_from_slice(values.as_slice().unwrap_or_default())?;
    Ok(tensor.f_view(&shape[..])?.f_to_device(device)?)
}

/// The values of a tensor of any device and kind, as `f32`.
///
/// # Errors
/// If libtorch fails.
pub fn to_array(tensor: &Tensor) -> Result<ArrayD<f32>, TorchError> {
    let shape: Vec<usize> = tensor.size().iter().map(|n| *n as usize).collect();
    let values = to_vec(tensor)?;
    ArrayD::from_shape_vec(IxDyn(&shape), values)
        .map_err(|error| tch::TchError::Shape(error.to_string()).into())
}

/// The values of a tensor of any device and kind, in row-major order.
///
/// # Errors
/// If libtorch fails.
pub fn to_vec(tensor: &Tensor) -> Result<Vec<f32>, TorchError> {
    let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
    let tensor = tensor.f_contiguous()?;
    let mut values = vec![0f32; tensor.numel()];
    tensor.f_copy_data(&mut values, tensor.numel())?;
    Ok(values)
}

/// The integers of a tensor of any device.
///
/// # Errors
/// If libtorch fails.
pub fn to_indices(tensor: &Tensor) -> Result<Vec<usize>, TorchError> {
    let tensor = tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Int64)?.f_contiguous()?;
    let mut values = vec![0i64; tensor.numel()];
    tensor.f_copy_data(&mut values, tensor.numel())?;
    Ok(values.into_iter().map(|v| v as usize).collect())
}
