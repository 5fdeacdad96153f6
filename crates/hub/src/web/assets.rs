//! The stylesheet and the icon, under addresses that change with their content.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

const STYLE: &str = include_str!("style.css");
const ICON: &str = include_str!("icon.svg");

static STYLE_ADDRESS: LazyLock<String> = LazyLock::new(|| address("style", STYLE, "css"));
static ICON_ADDRESS: LazyLock<String> = LazyLock::new(|| address("icon", ICON, "svg"));

fn address(name: &str, content: &str, ending: &str) -> String {
    let digest = blake3::hash(content.as_bytes()).to_hex();
    format!("/assets/{name}-{}.{ending}", digest.get(..16).unwrap_or_default())
}

/// Address of the stylesheet.
pub(super) fn style() -> &'static str {
    &STYLE_ADDRESS
}

/// Address of the icon.
pub(super) fn icon() -> &'static str {
    &ICON_ADDRESS
}

/// `GET /assets/{name}`
pub(super) async fn serve(Path(name): Path<String>) -> Response {
    let asked = format!("/assets/{name}");
    let (kind, content) = match asked.as_str() {
        asked if asked == style() => ("text/css; charset=utf-8", STYLE),
        asked if asked == icon() => ("image/svg+xml", ICON),
        // A page of an earlier version may still ask for its stylesheet: the new one is better than none.
        asked if asked.starts_with("/assets/style-") => return fallback("text/css; charset=utf-8", STYLE),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    (headers, content).into_response()
}

fn fallback(kind: &'static str, content: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")], content).into_response()
}
