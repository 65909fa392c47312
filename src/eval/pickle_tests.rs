use super::*;

/// `pickle.dumps(x, protocol)` of Python 3, as hexadecimal digits.
fn unhex(text: &str) -> Vec<u8> {
    let digit = |c: u8| (c as char).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks_exact(2).map(|p| digit(p[0]) << 4 | digit(p[1])).collect()
}

#[test]
fn plain_values_of_three_protocols_are_read() {
    // {'a': [1, -2, 300, 2.5, None, True], 'b': ('x', b'\xff')}
    for text in [
        "80027d71002858010000006171015d7102284b014afeffffff4d2c014740040000000000004e8865\
         58010000006271035801000000787104635f636f646563730a656e636f64650a71055802000000c3\
         bf710658060000006c6174696e31710786710852710986710a752e",
        "80037d71002858010000006171015d7102284b014afeffffff4d2c014740040000000000004e8865\
         580100000062710358010000007871044301ff7105867106752e",
        "80049530000000000000007d94288c0161945d94284b014afeffffff4d2c01474004000000000000\
         4e88658c0162948c0178944301ff948694752e",
    ] {
        let object = read(&unhex(text)).unwrap_or_else(|e| panic!("{text}: {e}"));
        let a = object.get("a").unwrap().items().unwrap();
        assert_eq!(a[..3], [Object::Int(1), Object::Int(-2), Object::Int(300)]);
        assert_eq!(a[3..], [Object::Float(2.5), Object::None, Object::Bool(true)]);
        let b = object.get("b").unwrap().items().unwrap();
        assert_eq!((b[0].text(), &b[1]), (Some("x"), &Object::Bytes(vec![0xff])));
    }
}

#[test]
fn a_pickle_that_calls_something_is_refused_by_name() {
    // os.system('true'), protocol 3.
    let evil = b"\x80\x03cposix\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03.";
    let said = read(evil).unwrap_err().to_string();
    assert!(said.contains("posix.system") && said.contains("only plain data"), "{said}");
}

#[test]
fn what_is_damaged_or_endless_is_an_error_and_no_panic() {
    // A list that holds itself: ]q\0h\0a.
    let said = read(b"\x80\x03]q\x00h\x00a.").unwrap_err().to_string();
    assert!(said.contains("itself"), "{said}");
    let whole = unhex("80037d71005801000000617101474004000000000000732e");
    assert!(read(&whole).is_ok());
    for end in 0..whole.len() {
        assert!(read(&whole[..end]).is_err(), "{end}");
    }
    for (i, byte) in (0..whole.len()).flat_map(|i| (0..=255u8).map(move |b| (i, b))) {
        let mut spoilt = whole.clone();
        spoilt[i] = byte;
        // Whatever it says, it says it without a panic.
        let _ = read(&spoilt);
    }
    assert!(read(b"\x80\x03)e.").is_err() && read(b"(.").is_err() && read(b"t.").is_err());
    assert!(read(b"\x80\x03Nr\xff\xff\xff\xff.").is_err(), "a memo of four billion");
}
