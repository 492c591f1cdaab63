//! What this node says it can do and allows, as features that placement knows.
//!
//! Pure. Called by `docker` with the operator's permissions and the engine's API version.

use proto::needs::{Ability, Permission};
use std::collections::BTreeSet;

/// API versions (1.MINOR) from which an engine has an ability.
const SINCE: [(Ability, u32); 2] = [(Ability::VolumeSubpath, 45), (Ability::Annotations, 43)];

/// The features of a node whose operator allows these permissions and whose engine speaks this version, such as `1.41`.
pub fn features(allowed: &BTreeSet<Permission>, api_version: &str) -> BTreeSet<String> {
    let minor = api_version.strip_prefix("1.").and_then(|minor| minor.parse().ok()).unwrap_or(0);
    let able = SINCE.iter().filter(|(_, since)| minor >= *since).map(|(ability, _)| ability.feature());
    let always = [Ability::ContainerKeys.feature()];
    allowed.iter().map(|p| p.feature()).chain(able).chain(always).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_has_what_its_version_has_and_a_node_what_its_operator_allows() {
        let of = |allowed: &[Permission], api: &str| {
            features(&allowed.iter().copied().collect(), api).into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(&[], "1.41"), "container-keys");
        assert_eq!(of(&[], "1.43"), "annotations container-keys");
        assert_eq!(of(&[], "1.45"), "annotations container-keys volume-subpath");
        assert_eq!(of(&[], ""), "container-keys");
        assert_eq!(of(&[Permission::Devices], "1.41"), "allow.devices container-keys");
    }
}
