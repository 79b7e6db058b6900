use super::super::pickle::interpret;
use super::*;

fn text(t: &str) -> Vec<u8> {
    [b"X".as_slice(), &(t.len() as u32).to_le_bytes(), t.as_bytes()].concat()
}

/// The pickle of a tensor of these sizes, of one of the storages of PyTorch.
fn tensor(storage: &str, sizes: &[u8]) -> Vec<u8> {
    let class = format!("ctorch\n{storage}\n").into_bytes();
    let sizes: Vec<u8> = sizes.iter().flat_map(|size| [b'K', *size]).collect();
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        [text("storage"), class, text("0"), text("cpu"), b"K\x01tQK\x00(".to_vec()].concat(),
        [sizes.as_slice(), b"t(", sizes.as_slice(), b"t\x89NtR"].concat(),
    ]
    .concat()
}

fn dictionary(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let pairs = items.iter().flat_map(|(key, value)| [text(key), value.clone(), b"s".to_vec()]);
    [b"}".to_vec()].into_iter().chain(pairs).collect::<Vec<_>>().concat()
}

/// A dictionary of one tensor of that name.
fn state(name: &str) -> Vec<u8> {
    dictionary(&[(name, tensor("FloatStorage", &[1]))])
}

/// The names of the tensors that are found in a dictionary.
fn found(items: &[(&str, Vec<u8>)]) -> Result<Vec<String>, NoState> {
    let program = [b"\x80\x02".to_vec(), dictionary(items), b".".to_vec()].concat();
    let (heap, root) = interpret(&program).unwrap();
    let state = heap.state_dict(&root)?;
    Ok(state.tensors.into_iter().map(|(name, _)| name).collect())
}

/// Under each key a dictionary with a tensor that is called as the key.
fn of(keys: &[&str]) -> Result<Vec<String>, NoState> {
    found(&keys.iter().map(|key| (*key, state(key))).collect::<Vec<_>>())
}

#[test]
fn averaged_weights_are_taken_where_there_are_no_others() {
    assert_eq!(of(&["ema_state_dict"]).unwrap(), ["ema_state_dict"]);
    assert_eq!(of(&["ema_state_dict", "state_dict"]).unwrap(), ["state_dict"]);
    assert_eq!(of(&["ema_state_dict", "net"]).unwrap(), ["net"]);
}

#[test]
fn the_only_dictionary_of_tensors_is_taken_whatever_its_key() {
    for key in ["ema", "best_state_dict", "model_best"] {
        assert_eq!(of(&[key]).unwrap(), [key]);
    }
    assert_eq!(found(&[("ema", dictionary(&[("shadow", state("w"))]))]).unwrap(), ["w"]);
    // Beside it: the state of a generator, a single number, a scaler's, something foreign.
    let beside = found(&[
        ("rng", tensor("ByteStorage", &[5])),
        ("loss", tensor("FloatStorage", &[])),
        ("scaler", dictionary(&[("scale", tensor("FloatStorage", &[]))])),
        ("args", b"cargparse\nNamespace\n)\x81".to_vec()),
        ("ema", state("w")),
    ]);
    assert_eq!(beside.unwrap(), ["w"]);
    // Known keys come first, and a flat dictionary is its own.
    assert_eq!(of(&["ema", "model_best", "last"]).unwrap(), ["last"]);
    let flat = found(&[("w", tensor("FloatStorage", &[1])), ("ema", state("x"))]);
    assert_eq!(flat.unwrap(), ["w"]);
    // The same dictionary twice.
    let program = [b"}".to_vec(), text("a"), state("w"), b"q\x07s".to_vec(), text("b")].concat();
    let (heap, root) = interpret(&[program, b"h\x07s.".to_vec()].concat()).unwrap();
    assert_eq!(heap.state_dict(&root).unwrap().tensors.len(), 1);
}

#[test]
fn several_dictionaries_of_tensors_are_refused_by_name() {
    let keys = ["generator", "critic"].map(str::to_owned).to_vec();
    assert_eq!(of(&["generator", "critic"]).unwrap_err(), NoState::Several(keys));
}

#[test]
fn something_else_in_the_place_of_weights_is_named() {
    let module = b"ctorch.nn\nModule\n)\x81".to_vec();
    let error = found(&[("epoch", b"K\x05".to_vec()), ("model", module.clone())]).unwrap_err();
    assert_eq!(error, NoState::Foreign("torch.nn.Module".to_owned()));
    // Where there are weights elsewhere, they are.
    assert_eq!(found(&[("model", module), ("ema", state("w"))]).unwrap(), ["w"]);
}

#[test]
fn time_is_bounded_by_the_file() {
    // Dictionaries of a thousand keys each, all for the one before.
    let mut program = b"}q\x00".to_vec();
    for level in 0..4_u8 {
        program.push(b'}');
        for key in 0..1000 {
            program.extend([text(&key.to_string()), vec![b'h', level, b's']].concat());
        }
        program.extend([b'q', level + 1]);
    }
    program.push(b'.');
    let (heap, root) = interpret(&program).unwrap();
    assert!(matches!(heap.state_dict(&root), Err(NoState::None(_))));
}
