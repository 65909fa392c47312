//! What a browser asks: a request line and headers. Bodies are not for a read-only page.

/// The longest head that is read.
pub const MAX_HEAD: usize = 8 << 10;
/// The most headers.
const MAX_HEADERS: usize = 64;

/// What is understood of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// HEAD: the answer without its body.
    pub head_only: bool,
    /// As asked for, without the query.
    pub path: String,
    /// Whom the browser believes to speak to, without the port.
    pub host: Option<String>,
    /// A token in the address, in a cookie, or in the Authorization header.
    pub token: Option<String>,
    /// True if the token is in the address, where it should not stay.
    pub token_in_address: bool,
}

/// Why a request is not answered as it wished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not HTTP.
    #[error("this is no HTTP request")]
    Malformed,
    /// More than [`MAX_HEAD`] bytes, or more headers than are looked at.
    #[error("the request's head is too long")]
    TooLong,
    /// Other than GET and HEAD.
    #[error("the page is read-only: GET and HEAD are all there is")]
    Method,
}

impl Refusal {
    /// HTTP's code.
    pub fn code(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::TooLong => 431,
            Self::Method => 405,
        }
    }
}

impl Request {
    /// Reads a request's head; `None` while its end has not come.
    ///
    /// # Errors
    /// If it never can become one.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Refusal> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Request::new(&mut headers);
        match head.parse(bytes) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD => {
                return Err(Refusal::TooLong);
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooLong),
            Err(_) => return Err(Refusal::Malformed),
        }
        let head_only = match head.method {
            Some("GET") => false,
            Some("HEAD") => true,
            _ => return Err(Refusal::Method),
        };
        let target = head.path.unwrap_or("/");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request = Self { head_only, path: path.to_owned(), ..Self::default() };
        for header in head.headers.iter() {
            let Ok(value) = std::str::from_utf8(header.value) else { continue };
            let value = value.trim();
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("host") {
                request.host = Some(without_port(value).to_ascii_lowercase());
            } else if is("authorization") {
                let bearer =
                    value.split_once(' ').filter(|(s, _)| s.eq_ignore_ascii_case("bearer"));
                request.token = request.token.or(bearer.map(|(_, t)| t.trim().to_owned()));
            } else if is("cookie") {
                let ours = value.split(';').find_map(|c| c.trim().strip_prefix(COOKIE));
                let ours = ours.and_then(|c| c.strip_prefix('='));
                request.token = request.token.or(ours.map(str::to_owned));
            }
        }
        if let Some(token) = query.split('&').find_map(|q| q.strip_prefix("token=")) {
            request.token = Some(token.to_owned());
            request.token_in_address = true;
        }
        Ok(Some(request))
    }
}

/// The cookie that carries the token.
pub(super) const COOKIE: &str = "posewire";

/// `[::1]:8080` → `[::1]`, `here:8080` → `here`.
fn without_port(host: &str) -> &str {
    match host.rfind(']') {
        Some(end) => &host[..=end],
        None => host.split(':').next().unwrap_or(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Request>, Refusal> {
        Request::parse(text.as_bytes())
    }

    #[test]
    fn a_browsers_request_is_understood() {
        let text = "GET /api/events?x=1&token=abc HTTP/1.1\r\nHost: Bench.local:8080\r\n\
                    Cookie: a=b; posewire=xyz\r\nAccept: */*\r\n\r\n";
        let request = parse(text).unwrap().unwrap();
        assert_eq!(request.path, "/api/events");
        assert_eq!(request.host.as_deref(), Some("bench.local"));
        assert_eq!(request.token.as_deref(), Some("abc"));
        assert!(request.token_in_address && !request.head_only);
        for (header, token) in [
            ("Authorization: bearer t0ken", Some("t0ken")),
            ("Authorization: Basic t0ken", None),
            ("Cookie: posewire=c0okie", Some("c0okie")),
            ("Cookie: posewirex=c0okie", None),
        ] {
            let text = format!("HEAD / HTTP/1.1\r\nHost: [::1]:80\r\n{header}\r\n\r\n");
            let request = parse(&text).unwrap().unwrap();
            assert_eq!(request.token.as_deref(), token, "{header}");
            assert!(request.head_only && !request.token_in_address);
            assert_eq!(request.host.as_deref(), Some("[::1]"));
        }
    }

    #[test]
    fn every_beginning_of_a_request_waits_for_its_end() {
        let text = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        for end in 0..text.len() {
            assert_eq!(parse(&text[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn what_is_not_answered_is_told_apart() {
        assert_eq!(parse("POST / HTTP/1.1\r\n\r\n"), Err(Refusal::Method));
        assert_eq!(parse("\u{1}\u{2}\r\n\r\n"), Err(Refusal::Malformed));
        let long = format!("GET /{}", "a".repeat(MAX_HEAD));
        assert_eq!(parse(&long), Err(Refusal::TooLong));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
        assert_eq!(parse(&many), Err(Refusal::TooLong));
    }
}
