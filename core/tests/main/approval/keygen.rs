//! The real `ssh-keygen`, in a folder of its own.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use ssh_key::PrivateKey;
use tempfile::TempDir;

/// Keys, and what they sign.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    #[allow(clippy::disallowed_methods, reason = "ssh-keygen is what is compared with")]
    fn run(&self, args: &[&str], stdin: &str) -> bool {
        std::fs::write(self.path("stdin"), stdin).unwrap();
        let stdin = Stdio::from(std::fs::File::open(self.path("stdin")).unwrap());
        let mut command = Command::new("ssh-keygen");
        command.args(args).current_dir(self.0.path()).stdin(stdin);
        command.output().expect("ssh-keygen is missing: apt-get install openssh-client").status.success()
    }

    /// Makes a key of this type and length, and gives its public line without the comment.
    pub(crate) fn key(&self, name: &str, kind: &str, bits: &str) -> String {
        let path = self.path(name);
        let mut args = vec!["-q", "-N", "", "-t", kind, "-f", path.to_str().unwrap()];
        if !bits.is_empty() {
            args.extend(["-b", bits]);
        }
        assert!(self.run(&args, ""), "{kind} {bits}");
        let line = std::fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap();
        line.split(' ').take(2).collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn private(&self, name: &str) -> PrivateKey {
        PrivateKey::from_openssh(std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// Signs a text as `ssh-keygen -Y sign` does.
    pub(crate) fn sign(&self, name: &str, namespace: &str, text: &str, more: &[&str]) -> String {
        let (key, file) = (self.path(name), self.path("text"));
        let _ = std::fs::remove_file(self.path("text.sig"));
        std::fs::write(&file, text).unwrap();
        let head = ["-q", "-Y", "sign", "-f", key.to_str().unwrap(), "-n", namespace];
        assert!(self.run(&[&head[..], more, &[file.to_str().unwrap()]].concat(), ""));
        std::fs::read_to_string(self.path("text.sig")).unwrap()
    }

    /// Whether `ssh-keygen -Y verify` accepts it as a signature of this person.
    pub(crate) fn accepts(
        &self,
        allowed: &str,
        person: &str,
        namespace: &str,
        text: &str,
        armored: &str,
    ) -> bool {
        let (list, signature) = (self.path("allowed"), self.path("signature"));
        std::fs::write(&list, allowed).unwrap();
        std::fs::write(&signature, armored).unwrap();
        let (list, signature) = (list.to_str().unwrap(), signature.to_str().unwrap());
        self.run(&["-Y", "verify", "-f", list, "-I", person, "-n", namespace, "-s", signature], text)
    }

    /// The fingerprint that `ssh-keygen -lf` prints.
    #[allow(clippy::disallowed_methods, reason = "ssh-keygen is what is compared with")]
    pub(crate) fn fingerprint(&self, name: &str) -> String {
        let output = Command::new("ssh-keygen").arg("-lf").arg(self.path(name)).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split(' ').nth(1).unwrap().to_owned()
    }
}
