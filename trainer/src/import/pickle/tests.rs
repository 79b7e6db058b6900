use super::super::state_dict::NoState;
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
    // Old-style instances, extension registry.
    for code in *b"io\x82P" {
        let bytes = [b'(', code, b'.'];
        assert!(matches!(interpret(&bytes), Err(PickleError::Opcode { .. })), "{code:#x}");
    }
}

#[test]
fn foreign_names_are_inert() {
    for program in [
        // `collections.Counter({})`, `argparse.Namespace()` with its attributes, `functools.partial`
        // called, a class with arguments by name, and all that can be done to what they make.
        &b"ccollections\nCounter\n}\x85R."[..],
        b"cargparse\nNamespace\n)\x81}X\x01\x00\x00\x00aK\x01sb.",
        b"cfunctools\npartial\ncbuiltins\ngetattr\n\x85R)R.",
        b"cx\nC\n)}\x92.",
        b"cx\nC\n)\x81K\x01K\x02s(K\x01K\x02u(K\x01e(K\x01\x90K\x01a}b.",
        // Tensors of a type and by a function that we do not know.
        b"((X\x07\x00\x00\x00storagectorch\nNewStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ.",
        b"ctorch._utils\n_rebuild_parameter\ncx\nf\n)R\x85R.",
    ] {
        let (heap, root) = interpret(program).unwrap();
        assert!(matches!(heap.get(&root), Some(Object::Foreign(_))), "{program:?}");
        assert!(matches!(heap.state_dict(&root), Err(NoState::Foreign(_))), "{program:?}");
    }
    // Sets and long numbers.
    for program in [
        &b"\x8f(K\x01\x90."[..],
        b"(K\x01\x91.",
        b"\x8b\x01\x00\x00\x00\x07.",
        b"}(K\x01\x91K\x02s.",
    ] {
        assert!(interpret(program).is_ok(), "{program:?}");
    }
    // What takes no items before takes none still.
    assert!(interpret(b"NK\x01a.").is_err() && interpret(b")K\x01a.").is_err());
}

#[test]
fn a_long_name_is_held_once() {
    // A name of a million letters, referred to and called ten thousand times.
    let long =
        [&b"X"[..], &1_000_000_u32.to_le_bytes(), &b"x".repeat(1_000_000), b"q\x00"].concat();
    let again = b"h\x00h\x00\x93)R0".repeat(10_000);
    let keys = b"h\x00cx\ny\ns".repeat(10_000);
    let program = [long, again, b"}".to_vec(), keys, b".".to_vec()].concat();
    let (heap, root) = interpret(&program).unwrap();
    assert!(matches!(heap.state_dict(&root), Err(NoState::None(keys)) if keys.len() == 8));
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
fn survives_cycles_and_depth() {
    // A dictionary that contains itself under `net`.
    let (heap, root) = interpret(b"}q\x00X\x03\x00\x00\x00neth\x00s.").unwrap();
    assert_eq!(heap.state_dict(&root).unwrap_err(), NoState::None(vec!["net".to_owned()]));
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
