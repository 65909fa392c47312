//! The page itself: plain HTML, CSS and JavaScript modules, compiled into the program. Nothing is
//! built and nothing is fetched from elsewhere.

/// A file of the page.
pub(super) struct File {
    pub path: &'static str,
    pub kind: &'static str,
    pub bytes: &'static [u8],
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

const FILES: [File; 8] = [
    File { path: "/", kind: "text/html; charset=utf-8", bytes: include_bytes!("index.html") },
    File {
        path: "/style.css",
        kind: "text/css; charset=utf-8",
        bytes: include_bytes!("style.css"),
    },
    File { path: "/app.js", kind: SCRIPT, bytes: include_bytes!("app.js") },
    File { path: "/skeleton.js", kind: SCRIPT, bytes: include_bytes!("skeleton.js") },
    File { path: "/picture.js", kind: SCRIPT, bytes: include_bytes!("picture.js") },
    File { path: "/scene.js", kind: SCRIPT, bytes: include_bytes!("scene.js") },
    File { path: "/strip.js", kind: SCRIPT, bytes: include_bytes!("strip.js") },
    File { path: "/icon.svg", kind: "image/svg+xml", bytes: include_bytes!("icon.svg") },
];

/// The file at `path`.
pub(super) fn find(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}
