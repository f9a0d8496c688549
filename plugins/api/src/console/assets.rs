//! The stylesheet, the script and the icon: built in, and named by a digest of their content, so that browsers
//! keep them for ever and never use an old one.

use std::sync::LazyLock;

use as2hook_as2::hex;
use axum::{
    Router,
    extract::Path,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use openssl::sha::sha256;

use crate::{error::ApiError, gateway::ApiState};

/// A file that is built in.
struct Asset {
    file: String,
    kind: &'static str,
    text: &'static str,
}

static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("console", "css", "text/css", include_str!("assets/console.css")));
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("console", "js", "text/javascript", include_str!("assets/console.js"))
});
static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_str!("assets/icon.svg")));

pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/console/assets/{file}", get(asset))
}

/// Returns the path of the stylesheet.
pub(super) fn style() -> String {
    STYLE.path()
}

/// Returns the path of the script.
pub(super) fn script() -> String {
    SCRIPT.path()
}

/// Returns the path of the icon.
pub(super) fn icon() -> String {
    ICON.path()
}

async fn asset(Path(file): Path<String>) -> Result<Response, ApiError> {
    let all: [&Asset; 3] = [&STYLE, &SCRIPT, &ICON];
    let asset = all.into_iter().find(|asset| asset.file == file).ok_or(ApiError::NotFound)?;
    let kept = "public, max-age=31536000, immutable";
    Ok(([(CONTENT_TYPE, asset.kind), (CACHE_CONTROL, kept)], asset.text).into_response())
}

// === impl Asset ===

impl Asset {
    fn new(name: &str, ending: &str, kind: &'static str, text: &'static str) -> Self {
        let digest = hex::encode(&sha256(text.as_bytes())[..8]);
        Self { file: format!("{name}-{digest}.{ending}"), kind, text }
    }

    fn path(&self) -> String {
        format!("/console/assets/{}", self.file)
    }
}
