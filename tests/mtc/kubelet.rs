//! What a kubelet does and podman 4.3 does not: it lays ConfigMaps, Secrets and empty directories out as
//! files with Kubernetes' modes, gives volumes to the pod's group, and mounts `/dev/termination-log`.
//!
//! podman 4.3 mounts a whole ConfigMap where a `subPath` is asked for, knows no `defaultMode` and no
//! `fsGroup`, and publishes every `containerPort` on the machine.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::manifests::Manifest;

/// Lays a pod's volumes out below `place`, and gives the pod with host paths instead of them. `claim` is
/// where its one claim lies.
pub(crate) fn lay_out(manifest: &Manifest, claim: &Path, place: &Path) -> io::Result<Value> {
    let mut pod = manifest.pod.clone();
    let spec = &mut pod["spec"];
    let group = spec["securityContext"]["fsGroup"]
        .as_u64()
        .map(|id| id as u32);
    let laid_out = LaidOut {
        manifest,
        claim,
        place,
        group,
    };
    let mut volumes = Vec::new();
    for volume in items(&spec["volumes"]) {
        laid_out.volume(volume)?;
    }
    for container in spec["containers"].as_array_mut().into_iter().flatten() {
        if let Some(parts) = container.as_object_mut() {
            parts.remove("ports");
        }
        let name = text(&container["name"]).to_owned();
        let termination = termination_log(place, &name);
        fs::write(&termination, "")?;
        fs::set_permissions(&termination, Permissions::from_mode(0o666))?;
        let mut mounts = Vec::new();
        for (n, mount) in items(&container["volumeMounts"]).enumerate() {
            let path = laid_out
                .path(text(&mount["name"]))
                .join(text(&mount["subPath"]));
            let volume = format!("{name}-{n}");
            mounts.push(json!({"name": volume, "mountPath": mount["mountPath"]}));
            volumes.push(host_path(&volume, &path));
        }
        let volume = format!("{name}-termination");
        mounts.push(json!({"name": volume, "mountPath": "/dev/termination-log"}));
        volumes.push(host_path(&volume, &termination));
        container["volumeMounts"] = mounts.into();
    }
    spec["volumes"] = volumes.into();
    if let Some(group) = group {
        spec["securityContext"] = json!({"supplementalGroups": [group]});
    }
    Ok(pod)
}

/// Where a container's last words are.
pub(crate) fn termination_log(place: &Path, container: &str) -> PathBuf {
    place.join(format!("{container}.termination-log"))
}

struct LaidOut<'a> {
    manifest: &'a Manifest,
    claim: &'a Path,
    place: &'a Path,
    group: Option<u32>,
}

impl LaidOut<'_> {
    /// Where a volume lies; a claim in its own place.
    fn path(&self, volume: &str) -> PathBuf {
        let volumes = items(&self.manifest.pod["spec"]["volumes"]);
        let mut claims = volumes.filter(|v| v.get("persistentVolumeClaim").is_some());
        match claims.any(|v| v["name"] == volume) {
            true => self.claim.to_owned(),
            false => self.place.join(volume),
        }
    }

    fn volume(&self, volume: &Value) -> io::Result<()> {
        let path = self.path(text(&volume["name"]));
        if let Some(source) = volume.get("configMap") {
            let data = &self.object("ConfigMap", &source["name"])["data"];
            return self.files(&path, data, source);
        }
        if let Some(source) = volume.get("secret") {
            let data = &self.object("Secret", &source["secretName"])["stringData"];
            return self.files(&path, data, source);
        }
        if volume.get("emptyDir").is_some() {
            fs::create_dir(&path)?;
            fs::set_permissions(&path, Permissions::from_mode(0o777))?;
        }
        match self.group {
            Some(group) => give(&path, group),
            None => Ok(()),
        }
    }

    fn object(&self, kind: &str, name: &Value) -> &Value {
        let mut objects = self.manifest.objects.iter();
        let found = objects.find(|o| o["kind"] == kind && o["metadata"]["name"] == *name);
        found.unwrap_or(&Value::Null)
    }

    /// The keys of an object as files: all of them, or its `items` by their paths.
    fn files(&self, path: &Path, data: &Value, source: &Value) -> io::Result<()> {
        fs::create_dir(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
        let mode = source["defaultMode"].as_u64().unwrap_or(0o644) as u32;
        for (key, content) in data.as_object().into_iter().flatten() {
            let item = items(&source["items"]).find(|item| item["key"] == *key);
            let name = item.map_or(key.as_str(), |item| text(&item["path"]));
            let file = path.join(name);
            fs::write(&file, text(content))?;
            lchown(&file, None, self.group)?;
            // A kubelet lets the group read what it may not read for itself.
            let mode = if self.group.is_some() {
                mode | 0o440
            } else {
                mode
            };
            fs::set_permissions(&file, Permissions::from_mode(mode))?;
        }
        Ok(())
    }
}

/// Gives a volume and all in it to a group, as a kubelet does for `fsGroup`.
fn give(path: &Path, group: u32) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    lchown(path, None, Some(group))?;
    if found.is_symlink() {
        return Ok(());
    }
    let more = if found.is_dir() { 0o2770 } else { 0o660 };
    fs::set_permissions(path, Permissions::from_mode(found.mode() & 0o7777 | more))?;
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), group)?;
        }
    }
    Ok(())
}

fn host_path(name: &str, path: &Path) -> Value {
    let kind = if path.is_dir() { "Directory" } else { "File" };
    json!({"name": name, "hostPath": {"path": path, "type": kind}})
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// A text; empty where there is none.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
