//! Every rule: its name for programs, what it is about, what to do, and advisories on the same weakness.

/// A rule.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rule {
    /// Name for programs; never changes its meaning.
    pub id: &'static str,
    /// What it is about, in one sentence.
    pub title: &'static str,
    /// What to do about a finding.
    pub advice: &'static str,
    /// Advisories about the same weakness.
    pub refs: &'static [&'static str],
}

const SAFETENSORS: &str = "do not load it; ask the author for safetensors, or take its tensors without running it: `wh convert FILE OUT.safetensors`";
const ASK: &str =
    "load it only if you trust the author; `wh convert FILE OUT.safetensors` takes the tensors and leaves the rest";
const DAMAGED: &str = "fetch it again, or ask the author for an undamaged file";
const REMOTE: &str = "read the code before you allow it, and pin the revision";

/// Defines the rules and the list of them from one table.
macro_rules! rules {
    ($($name:ident $id:literal $title:literal, $advice:expr $(, $reference:literal)*;)*) => {
        $(pub(super) const $name: &Rule =
            &Rule { id: $id, title: $title, advice: $advice, refs: &[$($reference),*] };)*

        /// All rules.
        pub const ALL: &[&Rule] = &[$($name),*];
    };
}

rules! {
    PICKLE_DANGEROUS "pickle-dangerous" "A pickle names a function that runs programs or reaches files or the network.",
        SAFETENSORS, "CVE-2025-1716", "CVE-2025-10157", "CVE-2026-22606", "CVE-2026-56304", "CVE-2026-56315";
    PICKLE_UNKNOWN "pickle-unknown" "A pickle names something that is not known to be harmless.", ASK;
    PICKLE_DOTTED "pickle-dotted-name" "A pickle reaches through an attribute to a name.", SAFETENSORS, "GHSA-5j3x-jp52-966f";
    PICKLE_COMPUTED "pickle-computed-name" "A pickle computes the name that it imports.", SAFETENSORS, "GHSA-vvpj-8cmc-gx39";
    PICKLE_EXTENSION "pickle-extension" "A pickle names something by its number in the extension registry.", SAFETENSORS;
    PICKLE_INDIRECT "pickle-indirect-call" "A pickle calls what another call gave.", SAFETENSORS;
    PICKLE_ALTERED "pickle-altered-class" "A pickle sets attributes of a class or function.", SAFETENSORS, "GHSA-mhc9-48gj-9gp3";
    PICKLE_STATE "pickle-state" "A pickle sets a state that such an object does not have.", ASK;
    PICKLE_EXTEND "pickle-extend" "A pickle adds items to what is no container.", SAFETENSORS, "CVE-2026-24747";
    PICKLE_ARGUMENT "pickle-argument" "A pickle calls a known function with arguments that writers do not give it.", SAFETENSORS;
    PICKLE_LOADER "pickle-loader" "A pickle has another pickle loaded.", ASK;
    PICKLE_CODE "pickle-code-object" "A pickle carries functions as code.", ASK;
    PICKLE_LIBRARY "pickle-library-class" "A pickle makes objects of a library whose classes do more than hold data.", ASK, "CVE-2024-34997";
    PICKLE_PERSISTENT "pickle-persistent-id" "A pickle asks its loader for something odd.", ASK;
    PICKLE_SOURCE "pickle-source" "A pickle carries the source of its classes.", ASK;
    PICKLE_ODD "pickle-odd" "A pickle does what well-behaved writers do not do.", ASK, "GHSA-cffv-grgg-g429";
    PICKLE_BROKEN "pickle-broken" "A pickle could not be read to its end.", DAMAGED, "GHSA-9gvj-pp9x-gcfr";
    TRAILING "trailing-data" "Bytes follow where the content ends.", ASK;
    STORAGE_SIZE "storage-size" "A tensor's storage has another size than the pickle says.", ASK, "CVE-2026-24747";
    STORAGE_MISSING "storage-missing" "A tensor's storage is not there.", DAMAGED;
    STORAGE_UNUSED "storage-unused" "A member lies among the tensors and is none.", ASK;
    LEGACY_HEADER "legacy-header" "The head of an old torch file imports names.", SAFETENSORS;
    TORCH_TAR "torch-tar" "torch's oldest format runs pickles even when only weights are asked for.", SAFETENSORS, "CVE-2025-32434";
    ARCHIVE_MISMATCH "archive-mismatch" "The two descriptions of a member disagree, and readers differ in which they take.", ASK,
        "CVE-2025-1944", "CVE-2025-1945", "CVE-2025-10156";
    ARCHIVE_NAME "archive-name" "A member's name leads elsewhere.", "do not unpack it", "CVE-2024-0129", "CVE-2025-23250", "CVE-2024-5187";
    ARCHIVE_LINK "archive-link" "A member is a link or a device.", "do not unpack it", "CVE-2025-23304";
    ARCHIVE_DUPLICATE "archive-duplicate" "Two members have one name, and readers differ in which they take.", ASK;
    ARCHIVE_HIDDEN "archive-hidden" "The archive has bytes of no member.", ASK;
    ARCHIVE_LOCKED "archive-locked" "A member is encrypted, or says so.", ASK, "CVE-2025-1945";
    ARCHIVE_BROKEN "archive-broken" "A part of an archive could not be read.", DAMAGED;
    ARCHIVE_BOMB "archive-bomb" "A member unpacks to far more than is stored.", "do not unpack it";
    ARCHIVE_KIND "archive-kind" "An archive of a kind that no loader of checkpoints opens.", "unpack it apart and scan what is in it";
    POLYGLOT "polyglot" "One file is several formats, and programs differ in which they see.", ASK;
    MASQUERADE "masquerade" "The name says another format than the bytes.", ASK, "CVE-2025-1889", "CVE-2025-10155";
    UNKNOWN_CONTENT "unknown-content" "The bytes are of no known format.", "ask the author what it is for";
    UNREADABLE "unreadable" "A file could not be looked at.", DAMAGED;
    LIMIT "limit" "A limit was reached, so that not everything was looked at.", "scan its parts one by one";
    FAILED "scanner-failed" "The scanner itself failed.", "treat the file as unsafe, and report this";
    SCRIPT_PROGRAM "torchscript" "The file carries a program for TorchScript.", ASK, "CVE-2022-45907";
    SCRIPT_FILES "torchscript-files" "A TorchScript program reads or writes files.", SAFETENSORS;
    EXPRESSION "expression" "An exported program has text that is evaluated as Python.", SAFETENSORS;
    NATIVE "native-code" "The file is native code.", "do not load it unless you built it";
    SCRIPT "script" "The file is a script.", "read it before you run it";
    SAFETENSORS_BROKEN "safetensors-broken" "The header of a safetensors file breaks a rule.", DAMAGED;
    GGUF_BROKEN "gguf-broken" "The header of a GGUF file breaks a rule; such files attack runtimes.", DAMAGED,
        "CVE-2024-25664", "CVE-2025-53630", "CVE-2026-27940", "CVE-2026-33298", "CVE-2026-7482";
    KERAS_CODE "keras-code" "A Keras configuration carries or loads a program.", SAFETENSORS,
        "CVE-2024-3660", "CVE-2025-9905", "CVE-2025-9906", "CVE-2026-1462";
    KERAS_MODULE "keras-module" "A Keras configuration imports from a module that is not Keras.", SAFETENSORS, "CVE-2025-1550", "CVE-2025-8747";
    KERAS_OUTWARD "keras-outward" "A Keras configuration calls a function that reaches outside.", SAFETENSORS, "CVE-2025-12060", "CVE-2025-49655";
    KERAS_PATH "keras-path" "A Keras layer reads a file that its configuration names.", ASK, "CVE-2025-12058";
    KERAS_CUSTOM "keras-custom" "A Keras configuration needs a class that is registered by a program.", ASK;
    HDF5_OUTSIDE "hdf5-outside" "An HDF5 file reads other files.", SAFETENSORS, "CVE-2026-1669";
    HDF5_SHAPE "hdf5-shape" "A dataset claims far more elements than are stored.", ASK, "CVE-2026-0897";
    TF_OPERATOR "tensorflow-operator" "A graph reads or writes files, or runs Python.", SAFETENSORS, "CVE-2024-3660";
    TF_CUSTOM "tensorflow-custom-operator" "A graph needs an operator of a plugin.", ASK;
    CUSTOM_OPERATOR "custom-operator" "A graph needs an operator of a plugin.", ASK;
    ONNX_PATH "onnx-path" "An ONNX model reads files outside its folder.", "do not load it", "CVE-2022-25882", "CVE-2024-27318", "CVE-2024-5187";
    TEMPLATE_ESCAPE "template-escape" "A chat template reaches into Python.", "do not render it; ask the author for a clean template", "CVE-2024-34359";
    TEMPLATE_CALL "template-call" "A chat template calls something that is not known.", "read the template before you render it", "CVE-2024-34359";
    TEMPLATE_TEXT "template-text" "A chat template adds text of its own to what the model is told.", "read the template before you use it";
    TEMPLATE_BROKEN "template-broken" "A chat template could not be parsed.", "read the template before you use it";
    REMOTE_CODE "remote-code" "A configuration asks for code of a repository.", REMOTE;
    REMOTE_CODE_FORCED "remote-code-forced" "A configuration makes old libraries run code without being asked.",
        "do not load it", "CVE-2026-4372", "CVE-2026-5241";
    CONFIG_CLASS "config-class" "A configuration names a class outside the libraries that load it.", REMOTE, "CVE-2024-37052", "CVE-2022-0845";
    CONFIG_DANGEROUS "config-dangerous" "A configuration names a function that runs programs or reaches files.", "do not load it",
        "CVE-2025-23304", "CVE-2024-37065";
    YAML_TAG "yaml-tag" "A YAML tag makes Python build any object.", "do not load it with an unsafe loader", "CVE-2022-0845";
    REQUIREMENT "requirement" "A list of packages fetches one from an address.", REMOTE;
    SECRET "secret" "The text holds a secret.", "revoke it, and remove it from the history";
    REORDERED "reordered-text" "Text holds characters that change its order on the screen.", "read it in an editor that shows them", "CVE-2021-42574";
    WEIGHTS_NOT_FINITE "weights-not-finite" "Weights are not finite.", "the tensor is of no use; ask the author";
    WEIGHTS_CONSTANT "weights-constant" "All elements of a tensor are the same.", "compare with the base model";
    WEIGHTS_DUPLICATE "weights-duplicate" "Two tensors are the same, under different names.", "compare with the base model";
    WEIGHTS_UNTIED "weights-untied" "The head and the embeddings differ, and the configuration says that they are one.",
        "compare with the base model";
    WEIGHTS_ROWS "weights-rows" "Rows of a matrix are empty, or far longer than the others.", "look at them: `wh inspect`";
    WEIGHTS_HIDDEN "weights-hidden" "The low bits of weights are no noise, as those of trained weights are.",
        "ask the author how they were made; casting to a narrower type and back removes what lies there";
    WEIGHTS_RANGE "weights-range" "Elements lie at an end of the range of their type, or far from all others.",
        "compare with the base model";
    WEIGHTS_PRECISION "weights-precision" "Weights are stored in a wider type than they need.",
        "`wh convert --dtype` stores them in half the space";
    WEIGHTS_ARCHITECTURE "weights-architecture" "The tensors are not those that the configuration asks for.",
        "ask the author which model they are of";
    WEIGHTS_ADAPTER "weights-adapter" "The spectrum of an adapter, to be compared with those of others.",
        "compare with adapters of the same base that you trust";
    WEIGHTS_EDIT "weights-edit" "A few weights differ from the base in a few directions or rows, as edits of single facts do.",
        "ask the author what was changed";
    WEIGHTS_BASE "weights-base" "How the weights differ from the base.", "see all of it: `wh diff`";
    WEIGHTS_UNREAD "weights-unread" "Weights could not be read.", DAMAGED;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rules_are_unique() {
        let mut names: Vec<_> = ALL.iter().map(|rule| rule.id).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
