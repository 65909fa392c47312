//! Any bytes as a recording: read to an end or to a named error, with bounded memory; and what can
//! be read of them makes a whole recording.
#![no_main]

use std::io::Cursor;
use std::panic;

use libfuzzer_sys::fuzz_target;
use posewire_fuzz::recording::{FrameRecord, Item, Reader, Subject, compose, recover};
use posewire_fuzz::wire;

/// The library's panics are caught where it is called and are errors then: they are no finding. The
/// fuzzer's own hook would end the process before they are caught.
fn excuse_the_library() {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !info.location().is_some_and(|at| at.file().contains("/mcap-")) {
            others(info);
        }
    }));
}

fuzz_target!(init: excuse_the_library(), |data: &[u8]| {
    let mut reader = Reader::new(data);
    let mut messages = 0;
    while let Ok(Some(item)) = reader.next() {
        let Item::Message(stored) = item else { continue };
        messages += 1;
        let Some(entry) = stored.entry() else { continue };
        match entry.topic.subject {
            Subject::Frame => {
                if let Ok(record) = serde_json::from_slice::<FrameRecord>(&entry.data) {
                    let _ = record.layout(entry.data.len());
                }
            }
            Subject::Image => drop(compose::picture(&entry.data, false)),
            Subject::RawImage => drop(compose::picture(&entry.data, true)),
            Subject::Packet => drop(wire::decode(&entry.data)),
            _ => {}
        }
    }
    let Ok((found, whole)) = recover(data, Cursor::new(Vec::new())) else { return };
    let whole = whole.into_inner();
    let mut reader = Reader::new(&whole[..]);
    let mut again = 0;
    while let Some(item) = reader.next().expect("a recovered recording is whole") {
        again += u64::from(matches!(item, Item::Message(_)));
    }
    assert_eq!(found.messages, again);
    assert!(found.messages >= messages);
});
