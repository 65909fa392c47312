//! Any stream of bytes gives the same frames however it is cut, and every frame comes back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posewire_fuzz::wire::cobs::{FrameReader, FramingError, MAX_FRAME, encode, framed_len};
use posewire_fuzz::wire::decode_packet;

fuzz_target!(|bytes: &[u8]| {
    let Some((&size, stream)) = bytes.split_first() else { return };
    let whole = read(stream, usize::MAX);
    assert_eq!(whole, read(stream, usize::from(size).max(1)));
    for frame in whole.iter().flatten() {
        assert!(frame.len() <= MAX_FRAME);
        let _ = decode_packet(frame);
        let mut line = vec![0; framed_len(frame.len())];
        let len = encode(frame, &mut line).expect("there is room");
        assert!(!line[..len - 1].contains(&0));
        assert_eq!(read(&line[..len], 1), [Ok(frame.clone())]);
    }
    // Whatever came before, the next frame is read.
    let mut line = stream.to_vec();
    line.extend([0, 3, b'o', b'k', 0]);
    assert_eq!(read(&line, 61).last(), Some(&Ok(b"ok".to_vec())));
});

fn read(stream: &[u8], size: usize) -> Vec<Result<Vec<u8>, FramingError>> {
    let mut reader = FrameReader::new();
    let mut all = Vec::new();
    for mut piece in stream.chunks(size) {
        while let Some(found) = reader.next(&mut piece) {
            all.push(found.map(<[u8]>::to_vec));
        }
    }
    all
}
