//! Any bytes are a request, the beginning of one, or a named refusal; and a request stays the same
//! whatever follows it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posewire_fuzz::request::{MAX_HEAD, Refusal, Request};

fuzz_target!(|bytes: &[u8]| {
    match Request::parse(bytes) {
        Ok(Some(request)) => {
            assert!(!request.token_in_address || request.token.is_some());
            assert!(!request.path.contains('?'));
            let longer = [bytes, b"GET / HTTP/1.1\r\n\r\n"].concat();
            assert_eq!(Request::parse(&longer), Ok(Some(request)));
        }
        Ok(None) => assert!(bytes.len() < MAX_HEAD),
        Err(refusal) => {
            assert!((400..500).contains(&refusal.code()) && !refusal.to_string().is_empty());
            if bytes.len() < MAX_HEAD && refusal == Refusal::Malformed {
                // More bytes make it no better.
                let longer = [bytes, b"\r\n\r\n"].concat();
                assert_eq!(Request::parse(&longer), Err(refusal));
            }
        }
    }
});
