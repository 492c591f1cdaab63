//! A cluster of its own on the real engine for one test: image, network, containers; all gone when it is dropped.

use agent::runtime::build::{BuildError, BuildRequest, Dockerfile, build_image};
use agent::runtime::docker::{DEFAULT_ENDPOINT, DockerRuntime};
use agent::runtime::{ContainerRuntime, CreateRequest, Identity, RuntimeError, SeenContainer, SeenState};
use proto::assignment::{Assignment, Desired, NodeNetwork};
use proto::id::{ClusterId, NodeId, ServiceKey, Slot, TaskId};
use proto::revision::Epoch;
use proto::spec::{ContainerSpec, HealthSpec, RestartPolicy};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Lab {
    pub runtime: DockerRuntime,
    pub identity: Identity,
    pub network: NodeNetwork,
    pub image: String,
    pub dir: tempfile::TempDir,
}

pub const DOCKERFILE: &str = r#"FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
EXPOSE 80 53/udp
HEALTHCHECK --interval=5s --retries=4 CMD true
CMD ["sleep", "1000"]
"#;

/// A static busybox, the only program these tests need.
fn busybox() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).map(|dir| dir.join("busybox"));
    let found = [PathBuf::from("/bin/busybox")].into_iter().chain(places).find(|p| p.is_file());
    found.expect("a static busybox is needed: apt-get install busybox-static")
}

/// A directory to build the test image from.
pub fn context(dockerfile: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(busybox(), dir.path().join("busybox")).unwrap();
    std::fs::write(dir.path().join("Dockerfile"), dockerfile).unwrap();
    dir
}

/// Held while images are built or removed: layers are shared by all that are made alike, and who removes the last image that
/// has them removes them from under a build that is under way.
#[must_use]
pub fn images() -> File {
    let file = File::open(std::env::current_exe().unwrap()).unwrap();
    file.lock().unwrap();
    file
}

pub async fn build(runtime: &DockerRuntime, context: &Path, tag: &str) -> Result<String, BuildError> {
    let _alone = images();
    let request = BuildRequest {
        context: context.to_owned(),
        dockerfile: Dockerfile::default(),
        tag: tag.to_owned(),
        args: BTreeMap::new(),
        target: None,
        no_cache: false,
        labels: BTreeMap::new(),
    };
    build_image(runtime, request, |_| ()).await
}

impl Lab {
    /// On a node whose paths may be mounted.
    pub async fn with_host_paths() -> Lab {
        let mut lab = Lab::new().await;
        lab.runtime = DockerRuntime::allowing(DEFAULT_ENDPOINT, [proto::needs::Permission::HostPaths].into());
        lab
    }

    /// With image and network.
    pub async fn new() -> Lab {
        let mut seed = [0_u8; 8];
        getrandom::fill(&mut seed).unwrap();
        let cluster = ClusterId(u64::from_ne_bytes(seed));
        let mut lab = Lab {
            runtime: DockerRuntime::new(DEFAULT_ENDPOINT),
            identity: Identity { cluster, epoch: Epoch(1), node: NodeId(0x51) },
            network: subnet(0),
            image: format!("wherry-runtime-test-{cluster}"),
            dir: tempfile::tempdir().unwrap(),
        };
        std::fs::write(lab.dir.path().join("resolv.conf"), "nameserver 10.213.0.53\n").unwrap();
        let context = context(DOCKERFILE);
        build(&lab.runtime, context.path(), &lab.image).await.expect("the test image is built");
        for third in (0..=255).map(|n| seed[0].wrapping_add(n)) {
            lab.network = subnet(third);
            match lab.runtime.ensure_network(&lab.identity, &lab.network).await {
                Ok(bridge) => {
                    assert_eq!(bridge, lab.identity.bridge_name());
                    return lab;
                }
                Err(RuntimeError::Conflict { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        panic!("no subnet of 10.213.0.0/16 is free");
    }

    pub fn address(&self, last: u8) -> IpAddr {
        let [a, b, c, _] = self.network.subnet.octets();
        IpAddr::V4(Ipv4Addr::new(a, b, c, last))
    }

    /// A request for a container of the test image at address `.SLOT+10`.
    pub fn request(&self, slot: u32, argv: &[&str]) -> CreateRequest {
        let container = ContainerSpec {
            image: self.image.clone(),
            command: Some(argv.iter().map(|a| (*a).to_owned()).collect()),
            stop_grace_ms: 500,
            ..ContainerSpec::default()
        };
        let address = self.address(u8::try_from(slot).unwrap() + 10);
        self.request_for(slot, container, vec![address])
    }

    pub fn request_for(&self, slot: u32, container: ContainerSpec, addresses: Vec<IpAddr>) -> CreateRequest {
        let service = ServiceKey { project: "lab".parse().unwrap(), service: "web".parse().unwrap() };
        CreateRequest {
            identity: self.identity.clone(),
            network: self.network,
            resolv_conf: self.dir.path().join("resolv.conf"),
            files: BTreeMap::new(),
            name: format!("wherry-runtime-test-{}-{slot}", self.identity.cluster),
            assignment: Assignment {
                task: TaskId(u64::from(slot)),
                service,
                slot: Slot(slot),
                generation: 1,
                desired: Desired::Run,
                addresses,
                spec_hash: container.hash(),
                container: Arc::new(container),
                restart: RestartPolicy::No,
                health: HealthSpec::Disabled,
                host_ports: Vec::new(),
                expose: Vec::new(),
                volumes: BTreeMap::new(),
                drain_ms: 0,
            },
        }
    }

    pub async fn run(&self, request: &CreateRequest) -> String {
        let id = self.runtime.create(request).await.expect("created").id;
        self.runtime.start(&id).await.expect("started");
        id
    }

    pub async fn exec(&self, id: &str, script: &str) -> (i64, String) {
        let argv = ["sh", "-c", script].map(str::to_owned);
        let outcome = self.runtime.exec(id, &argv, 30_000).await.expect("executed");
        (outcome.exit_code, outcome.output)
    }

    /// Looks until the container is as wanted.
    pub async fn until(&self, id: &str, wanted: impl Fn(&SeenState) -> bool) -> SeenContainer {
        let looking = async {
            loop {
                let seen = self.runtime.inspect(id).await.expect("inspected");
                if wanted(&seen.state) {
                    return seen;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.expect("the container gets there in time")
    }

    /// Looks until the container's processes are as many as wanted.
    pub async fn until_processes(&self, id: &str, wanted: impl Fn(usize) -> bool) {
        let mut last = String::new();
        for _ in 0..300 {
            last = docker(&["top", id, "-eo", "pid,args"]);
            if wanted(last.lines().count().saturating_sub(1)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("too many or too few processes: {last}");
    }
}

fn subnet(third: u8) -> NodeNetwork {
    NodeNetwork { subnet: [10, 213, third, 0].into(), prefix: 24, gateway: [10, 213, third, 1].into() }
}

/// The engine's own command line, to see with other eyes.
pub fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().expect("the docker command is installed");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)).trim().to_owned()
}

impl Drop for Lab {
    fn drop(&mut self) {
        let label = format!("label=wherry.cluster={}", self.identity.cluster);
        let remove = |list: &[&str], remove: &[&str]| {
            let ids = docker(list);
            let ids: Vec<&str> = ids.lines().collect();
            if !ids.is_empty() {
                docker(&[remove, &ids[..]].concat());
            }
        };
        remove(&["ps", "-aq", "--filter", &label], &["rm", "-fv"]);
        remove(&["volume", "ls", "-q", "--filter", &label], &["volume", "rm"]);
        docker(&["network", "rm", &self.identity.network_name()]);
        let _alone = images();
        docker(&["rmi", "-f", &self.image]);
    }
}
