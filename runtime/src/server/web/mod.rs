//! The page at `/`: its files are in the program, and it asks for nothing from elsewhere.
//!
//! The files hold no data, so they come without a token; what the page then asks for does not.

use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::ServeError;
use super::app::Route;

/// Nothing but the page's own files and the server's own answers; no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file's name, kind and content.
type File = (&'static str, &'static str, &'static str);

const FILES: [File; 8] = [
    ("page.css", "text/css; charset=utf-8", include_str!("page.css")),
    ("icon.svg", "image/svg+xml", include_str!("icon.svg")),
    ("page.js", SCRIPT, include_str!("page.js")),
    ("door.js", SCRIPT, include_str!("door.js")),
    ("picture.js", SCRIPT, include_str!("picture.js")),
    ("audit.js", SCRIPT, include_str!("audit.js")),
    ("live.js", SCRIPT, include_str!("live.js")),
    ("texts.js", SCRIPT, include_str!("texts.js")),
];

/// The paths.
pub(super) fn routes() -> Vec<Route> {
    vec![("/", get(page)), ("/page/{file}", get(file))]
}

/// Whether a path is one of the page's own files.
pub(super) fn has(path: &str) -> bool {
    path == "/" || path.strip_prefix("/page/").is_some_and(|name| of(name).is_some())
}

fn of(name: &str) -> Option<&'static File> {
    FILES.iter().find(|(known, ..)| *known == name)
}

async fn page() -> Response {
    sent(HTML, include_str!("page.html"))
}

async fn file(Path(name): Path<String>) -> Result<Response, ServeError> {
    let none = || ServeError::NotFound { what: format!("the page has no file `{name}`") };
    of(&name).map(|(_, kind, content)| sent(kind, content)).ok_or_else(none)
}

fn sent(kind: &'static str, content: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    ];
    (headers, content).into_response()
}
