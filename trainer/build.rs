//! Where the program finds libtorch when it starts: the folder that it was linked against, unless
//! `RIFT_RPATH` is `none`.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-env-changed=RIFT_RPATH");
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var_os("RIFT_RPATH").is_some_and(|rpath| rpath == "none") {
        return;
    }
    let Some(libtorch) = std::env::var_os("LIBTORCH") else { return };
    let folder = Path::new(&libtorch).join("lib");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
}
