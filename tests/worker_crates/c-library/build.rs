//! Compiles the library.

fn main() {
    println!("cargo:rerun-if-changed=src/sums.c");
    cc::Build::new().file("src/sums.c").compile("sums");
}
