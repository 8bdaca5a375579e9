//! What mig-controller 1.8 makes for a Direct Volume Migration of one volume with a file system: Pods,
//! ConfigMaps and Secrets. Names, commands and texts are its own, to the letter.

use std::path::Path;

use serde_json::{Value, json};

/// The uid and the group that OpenShift gives pods of the source's namespace.
pub(crate) const SOURCE_ID: u32 = 1_000_660_000;
/// As [`SOURCE_ID`], of the target's namespace.
pub(crate) const TARGET_ID: u32 = 1_000_670_000;

/// The name of the route in the certificate-less world of SNI.
pub(crate) const ROUTE: &str = "dvm-target.apps.barge.test";

/// How the pods may run (`container.securityContext`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    /// Root with `migration_rsync_privileged`: the daemon would use chroot.
    Privileged,
    /// Root with few capabilities, and a root file system that nobody can write.
    Root,
    /// A uid without an entry in `passwd`, no capabilities, a group for the volumes.
    Restricted,
}

impl Mode {
    pub(crate) fn is_root(self) -> bool {
        self != Self::Restricted
    }

    /// What a container of the namespace with `id` is given; what OpenShift's admission adds is in it.
    fn container(self, id: u32) -> Value {
        match self {
            Self::Privileged | Self::Root => json!({
                "privileged": self == Self::Privileged,
                "readOnlyRootFilesystem": true,
                "runAsUser": 0,
                "capabilities": {"drop": ["MKNOD", "SETPCAP"]},
            }),
            Self::Restricted => json!({
                "runAsUser": id,
                "runAsNonRoot": true,
                "capabilities": {"drop": ["ALL"]},
                "allowPrivilegeEscalation": false,
                "seccompProfile": {"type": "RuntimeDefault"},
            }),
        }
    }

    fn pod(self, id: u32) -> Value {
        match self {
            Self::Restricted => json!({"fsGroup": id}),
            Self::Privileged | Self::Root => json!({}),
        }
    }
}

/// The certificate of a run and its key, as PEM: both ends get the same.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A pod with the objects its volumes are made of.
pub(crate) struct Manifest {
    pub(crate) pod: Value,
    pub(crate) objects: Vec<Value>,
}

/// The pod in the target's namespace.
pub(crate) fn server(mode: Mode, image: &str, pair: &Pair) -> Manifest {
    let (context, path) = (mode.container(TARGET_ID), target_path());
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "rsync-server", "labels": labels(json!({"purpose": "rsync"}))},
        "spec": {
            "securityContext": mode.pod(TARGET_ID),
            "containers": [
                {
                    "name": "rsync",
                    "image": image,
                    "command": ["/usr/bin/rsync", "--daemon", "--no-detach", "--port=2222", "-vvv"],
                    "ports": [{"name": "rsyncd", "containerPort": 2222, "protocol": "TCP"}],
                    "securityContext": context,
                    "volumeMounts": [
                        {"name": "crane2-rsync-server-config", "mountPath": "/etc/rsyncd.conf", "subPath": "rsyncd.conf"},
                        {"name": "crane2-rsync-server-secret", "mountPath": "/etc/rsync-secret"},
                        {"name": TARGET_CLAIM, "mountPath": path},
                    ],
                },
                {
                    "name": "stunnel",
                    "image": image,
                    "command": ["/bin/stunnel", "/etc/stunnel/stunnel.conf"],
                    "ports": [{"name": "stunnel", "containerPort": 6443, "protocol": "TCP"}],
                    "securityContext": context,
                    "volumeMounts": [
                        {"name": "crane2-stunnel-server-config", "mountPath": "/etc/stunnel/stunnel.conf", "subPath": "stunnel.conf"},
                        {"name": "crane2-stunnel-server-secret", "mountPath": "/etc/stunnel/certs"},
                    ],
                },
            ],
            "volumes": [
                {"name": "crane2-rsync-server-config", "configMap": {"name": "crane2-rsync-server-config"}},
                {"name": "crane2-rsync-server-secret", "secret": {
                    "secretName": "crane2-rsync-server-secret",
                    "defaultMode": 0o600,
                    "items": [{"key": "credentials", "path": "rsyncd.secrets"}],
                }},
                {"name": "crane2-stunnel-server-config", "configMap": {"name": "fs-crane2-stunnel-server-config"}},
                {"name": "crane2-stunnel-server-secret", "secret": {"secretName": "fs-crane2-stunnel-server-secret"}},
                {"name": TARGET_CLAIM, "persistentVolumeClaim": {"claimName": "data"}},
            ],
        },
    });
    let objects = vec![
        config_map(
            "crane2-rsync-server-config",
            "rsyncd.conf",
            &rsyncd_conf(mode),
        ),
        secret(
            "crane2-rsync-server-secret",
            json!({"credentials": format!("root:{PASSWORD}")}),
        ),
        config_map(
            "fs-crane2-stunnel-server-config",
            "stunnel.conf",
            SERVER_TUNNEL,
        ),
        secret("fs-crane2-stunnel-server-secret", pair.data()),
    ];
    Manifest { pod, objects }
}

/// A pod in the source's namespace: its name, and what it says and asks.
pub(crate) struct Client<'a> {
    pub(crate) name: &'a str,
    pub(crate) password: &'a str,
    /// `rsync_opt_bwlimit`, in KiB/s.
    pub(crate) limit: Option<u32>,
}

impl Client<'_> {
    pub(crate) fn manifest(&self, mode: Mode, image: &str, pair: &Pair) -> Manifest {
        let context = mode.container(SOURCE_ID);
        let communication = json!({"name": "rsync-communication", "mountPath": "/usr/share/rsync"});
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "labels": labels(json!({
                "migration.openshift.io/created-for-pvc": SOURCE_CLAIM,
                "migration.openshift.io/rsync-attempt": "1",
            }))},
            "spec": {
                "restartPolicy": "Never",
                "securityContext": mode.pod(SOURCE_ID),
                "containers": [
                    {
                        "name": "rsync",
                        "image": image,
                        "command": ["/bin/bash", "-c", script(&self.command(mode))],
                        "env": [{"name": "RSYNC_PASSWORD", "value": self.password}],
                        "securityContext": context,
                        "volumeMounts": [
                            communication,
                            {"name": "mnt", "mountPath": source_path()},
                        ],
                    },
                    {
                        "name": "stunnel",
                        "image": image,
                        "command": ["/bin/bash", "-c", SIDECAR],
                        "ports": [{"name": "stunnel", "containerPort": 6443, "protocol": "TCP"}],
                        "securityContext": context,
                        "volumeMounts": [
                            {"name": "crane2-stunnel-client-config", "mountPath": "/etc/stunnel/stunnel.conf", "subPath": "stunnel.conf"},
                            {"name": "crane2-stunnel-client-secret", "mountPath": "/etc/stunnel/certs"},
                            communication,
                        ],
                    },
                ],
                "volumes": [
                    {"name": "mnt", "persistentVolumeClaim": {"claimName": "data"}},
                    {"name": "crane2-stunnel-client-config", "configMap": {"name": "fs-crane2-stunnel-client-config"}},
                    {"name": "crane2-stunnel-client-secret", "secret": {"secretName": "fs-crane2-stunnel-client-secret"}},
                    {"name": "rsync-communication", "emptyDir": {}},
                ],
            },
        });
        let tunnel = client_tunnel();
        let objects = vec![
            config_map("fs-crane2-stunnel-client-config", "stunnel.conf", &tunnel),
            secret("fs-crane2-stunnel-client-secret", pair.data()),
        ];
        Manifest { pod, objects }
    }

    fn command(&self, mode: Mode) -> String {
        let limit = self
            .limit
            .map_or(String::new(), |limit| format!(" --bwlimit={limit}"));
        let omit = if mode.is_root() {
            ""
        } else {
            " --omit-dir-times"
        };
        format!(
            "/usr/bin/rsync --recursive --links --perms --devices --specials --times --owner --group --hard-links --delete --partial{limit} --human-readable --log-file=/dev/stdout --info=COPY2,DEL2,REMOVE2,SKIP2,FLIST2,PROGRESS2,STATS2{omit} --exclude=lost+found {}/ rsync://root@localhost/{TARGET_CLAIM} --port 6443",
            source_path()
        )
    }
}

impl Pair {
    fn data(&self) -> Value {
        json!({"tls.crt": self.certificate, "tls.key": self.key})
    }

    /// Reads what `openssl req` has made.
    pub(crate) fn read(place: &Path) -> std::io::Result<Self> {
        Ok(Self {
            certificate: std::fs::read_to_string(place.join("tls.crt"))?,
            key: std::fs::read_to_string(place.join("tls.key"))?,
        })
    }
}

fn labels(more: Value) -> Value {
    let mut labels = json!({
        "app": "directvolumemigration-rsync-transfer",
        "owner": "directvolumemigration",
        "app.kubernetes.io/part-of": "openshift-migration",
        "directvolumemigration": "5a0e1ac5-5a3c-4f0e-9c43-3a3f0c1d7a10",
        "migration.openshift.io/migrated-by-migplan": "0d3a2b1e-71d5-4ef1-8a6c-2f0b4a2c9d11",
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        labels[key] = value.clone();
    }
    labels
}

fn config_map(name: &str, key: &str, text: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {key: text}})
}

fn secret(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})
}

fn source_path() -> String {
    format!("/mnt/source/{SOURCE_CLAIM}")
}

fn target_path() -> String {
    format!("/mnt/target/{TARGET_CLAIM}")
}

fn script(rsync: &str) -> String {
    format!(
        r#"trap "touch /usr/share/rsync/rsync-client-container-done" EXIT SIGINT SIGTERM; timeout=120; SECONDS=0; while [ $SECONDS -lt $timeout ]; do nc -z localhost 6443; rc=$?; if [ $rc -eq 0 ]; then {rsync}; rc=$?; break; fi; done; exit $rc;"#
    )
}

fn rsyncd_conf(mode: Mode) -> String {
    let root = if mode.is_root() {
        "uid = root\ngid = root\n"
    } else {
        ""
    };
    let chroot = if mode == Mode::Privileged {
        "yes"
    } else {
        "no"
    };
    let path = target_path();
    format!(
        "syslog facility = local7
read only = no
list = yes
log file = /dev/stdout
max verbosity = 4
auth users = root
hosts allow = ::1, 127.0.0.1, localhost
{root}
use chroot = {chroot}

munge symlinks = no

[{TARGET_CLAIM}]
    comment = archive for target/data
    path = {path}
    list = yes
    read only = false
    auth users = root
    secrets file = /etc/rsync-secret/rsyncd.secrets
"
    )
}

fn client_tunnel() -> String {
    format!(
        "
 pid =
 sslVersion = TLSv1.2
 client = yes
 syslog = no
 output = /dev/stdout
 [rsync]
 debug = 7
 accept = 6443
 cert = /etc/stunnel/certs/tls.crt
 key = /etc/stunnel/certs/tls.key
 connect = {ROUTE}:443
"
    )
}

const SERVER_TUNNEL: &str = "foreground = yes
pid =
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
debug = 7
sslVersion = TLSv1.2
[rsync]
accept = 6443
connect = 2222
key = /etc/stunnel/certs/tls.key
cert = /etc/stunnel/certs/tls.crt
TIMEOUTclose = 0
";

const SIDECAR: &str = "/bin/stunnel /etc/stunnel/stunnel.conf
while true
do test -f /usr/share/rsync/rsync-client-container-done
if [ $? -eq 0 ]
then
	break
else
	sleep 1
fi
done
exit 0
";

/// The password of the run; six letters, as the controller makes them.
pub(crate) const PASSWORD: &str = "qXvRbT";

/// The MD5 of a claim's name, as the controller names volumes: `data`, in either namespace.
const SOURCE_CLAIM: &str = "8d777f385d3dfec8815d20f7496026dc";
const TARGET_CLAIM: &str = SOURCE_CLAIM;
