//! Any bytes are a message that encodes and decodes to itself, or a named error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posewire_fuzz::sealed;
use posewire_fuzz::wire::auth::{Key, ReplayWindow};
use posewire_fuzz::wire::{
    CompactPerson, MAX_MESSAGE, MAX_SHORT_MESSAGE, Message, Packet, ShortMessage, decode,
    decode_packet, decode_short, encode, encode_compact, json,
};

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    if let Some(message) = sealed(bytes) {
        check(&message);
    }
    if let Ok(person) = CompactPerson::from_bytes(bytes) {
        assert_eq!(CompactPerson::from_bytes(&person.to_bytes()), Ok(person));
    }
});

fn check(bytes: &[u8]) {
    let key = Key::new(&[7; 32]).expect("it is long enough");
    let packet = match decode_packet(bytes) {
        Ok(packet) => packet,
        Err(e) => {
            assert!(!e.name().is_empty() && !e.to_string().is_empty());
            return;
        }
    };
    match packet {
        Packet::Full(sent) => {
            let line = json::Line { header: &sent.header, message: &sent.message };
            serde_json::to_string(&line).expect("it is JSON");
            let _ = key.verify(bytes);
            ReplayWindow::default().admit(&sent.header).expect("the first is new");
            if matches!(sent.message, Message::Unknown { .. }) {
                return;
            }
            let mut buffer = [0; MAX_MESSAGE];
            // A reader may accept what is longer than a sender may send.
            if let Ok(len) = encode(&sent.header, &sent.message, &mut buffer) {
                assert_eq!(decode(&buffer[..len]), Ok(sent));
            } else {
                assert!(bytes.len() > MAX_MESSAGE);
            }
        }
        Packet::Short(sent) => {
            serde_json::to_string(&json::ShortLine(&sent)).expect("it is JSON");
            if let ShortMessage::Pose(pose) = sent.message {
                let mut buffer = [0; MAX_SHORT_MESSAGE];
                let len = encode_compact(sent.header, &pose, &mut buffer).expect("it fits");
                assert_eq!(decode_short(&buffer[..len]), Ok(sent));
            }
        }
    }
}
