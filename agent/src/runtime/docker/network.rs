//! The node's network and its named volumes.

use super::super::translate::{self, BRIDGE_NAME_OPTION, WantedVolume};
use super::super::{CreateRequest, Identity, RuntimeError};
use super::failure::Thing;
use super::{DockerRuntime, gone_is_fine};
use bollard::models::NetworkInspect;
use bollard::query_parameters::{InspectNetworkOptions, RemoveVolumeOptions};
use proto::assignment::NodeNetwork;
use proto::label;
use std::collections::HashMap;

const NETWORK: &str = "make the node's network";
const REMOVE_NETWORK: &str = "remove the node's network";
const VOLUME: &str = "make a volume";
const REMOVE_VOLUME: &str = "remove a volume";

impl DockerRuntime {
    pub(super) async fn network_ready(
        &self,
        identity: &Identity,
        network: &NodeNetwork,
    ) -> Result<String, RuntimeError> {
        let name = identity.network_name();
        match self.network(&name).await {
            Ok(found) => return checked(identity, network, found),
            Err(RuntimeError::NotFound { .. }) => {}
            Err(other) => return Err(other),
        }
        let body = translate::network_body(identity, network);
        let made = self
            .call(NETWORK, Thing::Network(&name), self.deadlines().make, |docker| async move {
                docker.create_network(body).await
            })
            .await;
        match made {
            Ok(_) => Ok(identity.bridge_name()),
            // Another call of ours may have made it in between; if so it is there to be checked.
            Err(conflict @ RuntimeError::Conflict { .. }) => match self.network(&name).await {
                Ok(found) => checked(identity, network, found),
                Err(_) => Err(conflict),
            },
            Err(other) => Err(other),
        }
    }

    async fn network(&self, name: &str) -> Result<NetworkInspect, RuntimeError> {
        let limit = self.deadlines().look;
        self.call(NETWORK, Thing::Network(name), limit, |docker| async move {
            docker.inspect_network(name, None::<InspectNetworkOptions>).await
        })
        .await
    }

    pub(super) async fn network_gone(&self, name: &str) -> Result<(), RuntimeError> {
        let limit = self.deadlines().remove;
        gone_is_fine(
            self.call(REMOVE_NETWORK, Thing::Network(name), limit, |docker| async move {
                docker.remove_network(name).await
            })
            .await,
        )
    }

    /// Makes a named volume when it is absent. One of the user's own must be there.
    pub(super) async fn volume_ready(
        &self,
        request: &CreateRequest,
        wanted: &WantedVolume,
    ) -> Result<(), RuntimeError> {
        let name = wanted.name.as_str();
        let limit = self.deadlines().look;
        let found = self
            .call(VOLUME, Thing::Volume(name), limit, |docker| async move { docker.inspect_volume(name).await })
            .await;
        match found {
            Ok(_) if wanted.external => return Ok(()),
            Ok(_) => return self.volume_is_not_shared(&request.identity, name).await,
            Err(RuntimeError::NotFound { .. }) if wanted.external => {
                let what = format!(
                    "external volume `{name}` (make it with `docker volume create {name}`, or drop `external: true`)"
                );
                return Err(RuntimeError::NotFound { what });
            }
            Err(RuntimeError::NotFound { .. }) => {}
            Err(other) => return Err(other),
        }
        let body = translate::volume_body(&request.identity, &request.assignment, wanted);
        let limit = self.deadlines().make;
        self.call(VOLUME, Thing::Volume(name), limit, |docker| async move { docker.create_volume(body).await })
            .await
            .map(|_| ())
    }

    /// A volume that a container of another cluster holds: two clusters would write into each other's data. One left
    /// behind by a cluster that is gone is taken over, as Compose does.
    async fn volume_is_not_shared(&self, identity: &Identity, name: &str) -> Result<(), RuntimeError> {
        let ours = identity.cluster.to_string();
        let holders = self.listed(HashMap::from([("volume".to_owned(), vec![name.to_owned()])])).await?;
        let stranger = holders.iter().find_map(|holder| {
            let cluster = holder.labels.as_ref()?.get(label::CLUSTER).filter(|cluster| **cluster != ours)?;
            Some((holder.names.as_deref().unwrap_or_default().first().map_or("", String::as_str), cluster))
        });
        let Some((container, cluster)) = stranger else { return Ok(()) };
        let cause = format!(
            "container `{}` of another cluster ({cluster}) holds it; give the volume a `name:` of its own, or remove that one",
            container.trim_start_matches('/')
        );
        Err(RuntimeError::Conflict { what: format!("volume `{name}`"), cause })
    }

    pub(super) async fn volume_gone(&self, name: &str) -> Result<(), RuntimeError> {
        let limit = self.deadlines().remove;
        gone_is_fine(
            self.call(REMOVE_VOLUME, Thing::Volume(name), limit, |docker| async move {
                docker.remove_volume(name, None::<RemoveVolumeOptions>).await
            })
            .await,
        )
    }
}

/// The bridge of a network that is there already, if it is the one we would make.
fn checked(identity: &Identity, wanted: &NodeNetwork, found: NetworkInspect) -> Result<String, RuntimeError> {
    let conflict = |cause: String| {
        let name = identity.network_name();
        let cause = format!("{cause}; if nothing uses it, remove it with `docker network rm {name}`");
        Err(RuntimeError::Conflict { what: format!("network `{name}`"), cause })
    };
    let labels = found.labels.unwrap_or_default();
    let ours = [(label::CLUSTER, identity.cluster.to_string()), (label::NODE, identity.node.to_string())];
    for (key, value) in ours {
        let there = labels.get(key).map_or("", String::as_str);
        if there != value {
            return conflict(format!("its label {key} reads `{there}` instead of `{value}`"));
        }
    }
    let subnet = format!("{}/{}", wanted.subnet, wanted.prefix);
    let config = found.ipam.and_then(|i| i.config).and_then(|c| c.into_iter().next()).unwrap_or_default();
    let there = (config.subnet.unwrap_or_default(), config.gateway.unwrap_or_default());
    if there != (subnet.clone(), wanted.gateway.to_string()) {
        return conflict(format!(
            "it has {} with gateway {} instead of {subnet} with {}",
            there.0, there.1, wanted.gateway
        ));
    }
    let bridge = found.options.and_then(|mut o| o.remove(BRIDGE_NAME_OPTION));
    Ok(bridge.unwrap_or_else(|| identity.bridge_name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::id::{ClusterId, NodeId};
    use proto::revision::Epoch;

    fn check(change: impl FnOnce(&mut serde_json::Value), expect: Result<&str, &str>) {
        let identity = Identity { cluster: ClusterId(0xab << 56), epoch: Epoch(1), node: NodeId(7) };
        let wanted = NodeNetwork { subnet: [10, 213, 1, 0].into(), prefix: 24, gateway: [10, 213, 1, 1].into() };
        let mut found = serde_json::to_value(translate::network_body(&identity, &wanted)).unwrap();
        change(&mut found);
        match (checked(&identity, &wanted, serde_json::from_value(found).unwrap()), expect) {
            (Ok(bridge), Ok(expect)) => assert_eq!(bridge, expect),
            (Err(RuntimeError::Conflict { cause, .. }), Err(part)) => assert!(cause.contains(part), "{cause}"),
            (got, expect) => panic!("{got:?} instead of {expect:?}"),
        }
    }

    #[test]
    fn a_network_found_is_ours_or_a_conflict() {
        check(|_| (), Ok("wh-ab0000"));
        check(|n| n["Options"][BRIDGE_NAME_OPTION] = "br0".into(), Ok("br0"));
        check(|n| n["Labels"] = serde_json::json!({}), Err("wherry.cluster"));
        check(|n| n["Labels"][label::NODE] = "0000000000000008".into(), Err("0000000000000008"));
        check(|n| n["IPAM"]["Config"][0]["Subnet"] = "10.9.0.0/24".into(), Err("10.9.0.0/24"));
        check(|n| n["IPAM"]["Config"] = serde_json::json!([]), Err("docker network rm"));
    }
}
