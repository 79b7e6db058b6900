use super::*;

#[test]
fn refuses_what_could_run_code() {
    // `os.system("true")`, as `pickle.dumps` of an object with `__reduce__` writes it.
    let bytes = b"\x80\x02cposix\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03.";
    let error = interpret(bytes).unwrap_err();
    assert!(matches!(&error, PickleError::Global { name } if name == "posix.system"));
    // The same by name on the stack (protocol 4).
    let bytes = b"\x80\x04\x8c\x05posix\x8c\x06system\x93.";
    assert!(matches!(interpret(bytes), Err(PickleError::Global { .. })));
    // Old-style instances, extension registry, arbitrary constructors.
    for code in *b"io\x82\x81P" {
        let bytes = [b'(', code, b'.'];
        assert!(matches!(interpret(&bytes), Err(PickleError::Opcode { .. })), "{code:#x}");
    }
}

#[test]
fn refuses_programs_that_make_no_sense() {
    let cases: [&[u8]; 9] = [
        b"",
        b".",
        b"(",
        b"}(.",                            // from below a mark
        b"t.",                             // a tuple without a mark
        b"h\x05.",                         // nothing memorised
        b"X\xff\xff\xff\xffabc.",          // a text longer than the file
        b"NNNs.",                          // a pair into nothing
        b"ccollections\nOrderedDict\nNR.", // arguments that are no tuple
    ];
    for bytes in cases {
        assert!(interpret(bytes).is_err(), "{bytes:?}");
    }
    // Every prefix of a good pickle.
    let good = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01K\x05X\x01\x00\x00\x00bJ\xff\xff\xff\xffu.";
    assert!(interpret(good).is_ok());
    for cut in 0..good.len() {
        assert!(interpret(&good[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn averaged_weights_are_taken_where_there_are_no_others() {
    let text = |t: &str| [b"X".as_slice(), &(t.len() as u32).to_le_bytes(), t.as_bytes()].concat();
    // A dictionary of one tensor of one number.
    let state = |name: &str| {
        let storage = [text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text("0"), text("cpu")];
        let view = [b"K\x01tQK\x00K\x01\x85K\x01\x85\x89NtR".to_vec()];
        [
            &[b"}".to_vec(), text(name), b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec()][..],
            &storage,
            &view,
            &[b"s".to_vec()],
        ]
        .concat()
        .concat()
    };
    let of = |keys: &[&str]| {
        let pairs = keys.iter().flat_map(|key| [text(key), state(key), b"s".to_vec()]);
        let program = [b"\x80\x02}".to_vec()].into_iter().chain(pairs).chain([b".".to_vec()]);
        let (heap, root) = interpret(&program.collect::<Vec<_>>().concat()).unwrap();
        let state = heap.state_dict(&root).unwrap();
        state.tensors.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(of(&["ema_state_dict"]), ["ema_state_dict"]);
    assert_eq!(of(&["ema_state_dict", "state_dict"]), ["state_dict"]);
    assert_eq!(of(&["ema_state_dict", "net"]), ["net"]);
}

#[test]
fn survives_cycles_and_depth() {
    // A dictionary that contains itself under `net`.
    let (heap, root) = interpret(b"}q\x00X\x03\x00\x00\x00neth\x00s.").unwrap();
    assert_eq!(heap.state_dict(&root).unwrap_err(), ["net"]);
    // A million tuples, one inside the other.
    let mut deep = vec![b')'];
    deep.resize(1_000_000, 0x85);
    deep.push(b'.');
    assert!(interpret(&deep).is_ok());
}

#[test]
fn reads_numbers_of_any_length() {
    assert_eq!(two_complement(&[]), Some(0));
    assert_eq!(two_complement(&[0xff]), Some(-1));
    assert_eq!(two_complement(&[0xff, 0x00]), Some(255));
    assert_eq!(two_complement(&[0; 9]), None);
}
