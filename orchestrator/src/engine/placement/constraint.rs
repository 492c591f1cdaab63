//! Attributes of a node, and what a service demands of them: constraints, spreading, its image's platform.
//!
//! Compose Specification, `deploy.placement` and `platform`; values are compared as Swarm compares them, without regard
//! to case, and an absent label has the empty value.

use proto::spec::Constraint;
use std::borrow::Cow;

use crate::engine::model::Node;

/// Attributes other than labels.
pub const ATTRIBUTES: [&str; 4] = ["node.id", "node.hostname", "node.platform.os", "node.platform.arch"];
/// What a label's attribute begins with.
pub const LABEL_PREFIX: &str = "node.labels.";

/// Is it an attribute that nodes have?
pub fn is_attribute(attribute: &str) -> bool {
    ATTRIBUTES.contains(&attribute) || attribute.strip_prefix(LABEL_PREFIX).is_some_and(|key| !key.is_empty())
}

/// The node's value; empty for an absent label and an unknown attribute.
pub fn value_of<'a>(node: &'a Node, attribute: &str) -> Cow<'a, str> {
    match attribute {
        "node.id" => Cow::Owned(node.info.id.to_string()),
        "node.hostname" => Cow::Borrowed(&node.info.hostname),
        "node.platform.os" => Cow::Borrowed(&node.info.os),
        "node.platform.arch" => Cow::Borrowed(&node.info.arch),
        _ => {
            let label = attribute.strip_prefix(LABEL_PREFIX).and_then(|key| node.label(key));
            Cow::Borrowed(label.unwrap_or_default())
        }
    }
}

/// Does it hold of the node?
pub fn holds(constraint: &Constraint, node: &Node) -> bool {
    let value = value_of(node, &constraint.attribute);
    let same = match constraint.attribute.as_str() {
        "node.platform.arch" => architecture(&value).eq_ignore_ascii_case(architecture(&constraint.value)),
        _ => value.eq_ignore_ascii_case(&constraint.value),
    };
    same == constraint.equal
}

/// Does the node run images of this platform, `OS[/ARCH[/VARIANT]]`? A variant is the engine's to judge.
pub fn is_for(platform: &str, node: &Node) -> bool {
    let mut parts = platform.split('/');
    let os = parts.next().unwrap_or_default();
    let arch = parts.next().map(architecture);
    os.eq_ignore_ascii_case(&node.info.os)
        && arch.is_none_or(|arch| arch.eq_ignore_ascii_case(architecture(&node.info.arch)))
}

/// One name for an architecture: kernels and image registries call the same thing differently.
fn architecture(name: &str) -> &str {
    match name {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "i386" | "i686" => "386",
        "armv7l" | "armhf" => "arm",
        other => other,
    }
}
