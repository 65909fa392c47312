//! What an operator does about a fault, by its stable name.

/// What helps against the fault `name`; `None` if the name is not known here.
pub fn remedy(name: &str) -> Option<&'static str> {
    Some(match name {
        "source-gone" | "camera-gone" => {
            "plug the camera in (it is opened again by itself); `posewire check` lists those that \
             are there"
        }
        "camera-frozen" | "source-silent" => {
            "it is opened again by itself; if it stays so: another cable or USB port, power"
        }
        "overloaded" => "lower the camera's rate or size, or take a smaller model",
        "overheated" => "look after cooling and power mode; poses come more rarely meanwhile",
        "target-refused" => "start the receiver, or correct the port under [[publish]]",
        "target-unreachable" => "bring the network up, or correct the address under [[publish]]",
        "target-full" => "the way there is slower than the poses: fewer targets or a faster line",
        "target-forbidden" => "a firewall rule or the unit's IPAddressAllow= forbids the address",
        "target-gone" => "plug the device in; it is opened again by itself",
        "target-stalled" => "look at the disk, line or network that it waits for",
        "gpu-hung" => {
            "a new start uses the GPU again; if it comes back: its driver's log (dmesg), cooling, power"
        }
        "gpu-failed" => {
            "a reload or a new start tries again; if it comes back: the GPU's memory, its driver's log"
        }
        "gpu-refused" => {
            "poses are right, and slower than they could be: `posewire check --self-test`; another \
             precision, or backend = \"tract\""
        }
        "storage-full" | "record-disk-full" => "free some space; recording goes on by itself",
        "perception-restarted" => "please report it, with the log of that moment",
        _ => return None,
    })
}
