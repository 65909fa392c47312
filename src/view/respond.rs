//! What is answered to a request.

use std::sync::Arc;

use super::access::{Access, Verdict};
use super::board::Board;
use super::metrics;
use super::page;
use super::request::{COOKIE, Refusal, Request};
use crate::stats::Stats;

/// Bytes on their way out.
#[derive(Clone, Debug)]
pub(super) enum Chunk {
    /// Part of the program.
    Static(&'static [u8]),
    /// Made for one answer, or for all viewers.
    Shared(Arc<[u8]>),
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Static(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// An answer.
pub(super) struct Reply {
    pub head: Chunk,
    pub body: Option<Chunk>,
    /// True: events follow, for as long as the browser listens.
    pub events: bool,
}

/// Only from here, nothing inline, nothing framed, nothing kept.
const EVERY: &str = "Cache-Control: no-store\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Referrer-Policy: no-referrer\r\n\
    X-Frame-Options: DENY\r\n\
    Cross-Origin-Opener-Policy: same-origin\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\n\
    Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'\r\n\
    Connection: close\r\n";

const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

fn reason(code: u16) -> &'static str {
    match code {
        200 => "OK",
        303 => "See Other",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    }
}

fn reply(code: u16, kind: &str, extra: &str, body: Chunk) -> Reply {
    let head = format!(
        "HTTP/1.1 {code} {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{extra}{EVERY}\r\n",
        reason(code),
        body.as_ref().len(),
    );
    Reply { head: Chunk::Shared(head.into_bytes().into()), body: Some(body), events: false }
}

fn words(code: u16, extra: &str, text: &str) -> Reply {
    reply(code, PLAIN, extra, Chunk::Shared(format!("{text}\n").into_bytes().into()))
}

/// To what is no request that can be answered.
pub(super) fn refuse(refusal: Refusal) -> Reply {
    let extra = if refusal == Refusal::Method { "Allow: GET, HEAD\r\n" } else { "" };
    words(refusal.code(), extra, &refusal.to_string())
}

/// To whoever comes when all connections are taken.
pub(super) fn busy() -> Reply {
    words(503, "Retry-After: 5\r\n", "too many viewers: close one, or come again")
}

/// To a request.
pub(super) fn answer(request: &Request, access: &Access, board: &Board, stats: &Stats) -> Reply {
    let mut reply = match access.judge(request) {
        Verdict::Welcome => content(&request.path, board, stats),
        Verdict::TakeCookie => {
            // Judged right, so it is ours and has no character that ends a cookie.
            let token = request.token.as_deref().unwrap_or_default();
            let extra = format!(
                "Location: {}\r\nSet-Cookie: {COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/\r\n",
                if page::find(&request.path).is_some() { &request.path } else { "/" },
            );
            words(303, &extra, "go on without the token in the address")
        }
        Verdict::Unknown => words(
            401,
            "WWW-Authenticate: Bearer realm=\"posewire\"\r\n",
            "a token is needed: open the address that posewire showed when it started, \
             .../?token=..., or send the header Authorization: Bearer TOKEN",
        ),
        Verdict::WrongHost => words(
            421,
            "",
            "this page answers to localhost, 127.0.0.1 and [::1] only; for another name serve it \
             with a token (docs/view.md)",
        ),
    };
    if request.head_only {
        reply.body = None;
        reply.events = false;
    }
    reply
}

fn content(path: &str, board: &Board, stats: &Stats) -> Reply {
    if let Some(file) = page::find(path) {
        return reply(200, file.kind, "", Chunk::Static(file.bytes));
    }
    match path {
        "/api/events" => Reply {
            head: Chunk::Shared(
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{EVERY}\r\nretry: 1000\n\n"
                )
                .into_bytes()
                .into(),
            ),
            body: None,
            events: true,
        },
        "/api/status" => reply(200, JSON, "", Chunk::Shared(board.answers().status)),
        "/healthz" => {
            let answers = board.answers();
            let code = if answers.healthy { 200 } else { 503 };
            reply(code, JSON, "", Chunk::Shared(answers.health))
        }
        "/metrics" => {
            let text = metrics::render(stats, &board.answers().metrics, board.watchers());
            reply(200, metrics::CONTENT_TYPE, "", Chunk::Shared(text.into_bytes().into()))
        }
        _ => words(404, "", "nothing is here: /, /api/status, /api/events, /healthz, /metrics"),
    }
}
