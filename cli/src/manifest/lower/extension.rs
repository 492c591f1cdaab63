//! `x-wherry` of a service: what Compose has no word for. Each part is lowered where it belongs.
//!
//! Called by `service`.

use super::context::{Context, Field, Fields};
use super::keys;

/// Its parts.
#[derive(Default)]
pub struct Extension<'a> {
    /// A check.
    pub health: Option<Field<'a>>,
    /// Time between leaving discovery and the stop signal.
    pub drain: Option<Field<'a>>,
    /// More of how changes go.
    pub update: Option<Field<'a>>,
}

/// Takes it apart.
pub fn extension<'a>(cx: &mut Context<'_>, service: &mut Fields<'a>) -> Extension<'a> {
    let Some(field) = service.take("x-wherry") else { return Extension::default() };
    let Some(mut keys) = cx.map(&field) else { return Extension::default() };
    let extension = Extension { health: keys.take("health"), drain: keys.take("drain"), update: keys.take("update") };
    keys.finish(cx, keys::X_WHERRY);
    extension
}
