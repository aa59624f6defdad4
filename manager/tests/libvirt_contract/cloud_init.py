"""Has cloud-init's own code read the seed on the only disk there is, and prints what it made of it.

    cloud_init.py MAC

Runs on the stage that cloud_init.sh makes, with its environment. It judges nothing: the test does.
"""

import json
import logging
import os
import pathlib
import subprocess
import sys

import yaml
from cloudinit import distros, helpers, version
from cloudinit.distros import rhel
from cloudinit.net import eni, netplan, network_manager, networkd, sysconfig
from cloudinit.sources.DataSourceNoCloud import DataSourceNoCloud

RENDERERS = {
    "netplan": netplan,
    "eni": eni,
    "networkd": networkd,
    "network-manager": network_manager,
    "sysconfig": sysconfig,
}
OUT = pathlib.Path("/run/rendered")


def files(directory):
    """The files below a directory, by their paths in it."""
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_text() for path in found}


def render(name, network_config):
    """What one of cloud-init's renderers writes for its network service."""
    target = OUT / name
    target.mkdir(parents=True)
    # Each knows its usual files; only those of sysconfig differ between its distributions.
    config = rhel.Distro.renderer_configs["sysconfig"] if name == "sysconfig" else {}
    renderer = RENDERERS[name].Renderer(config)
    renderer.render_network_config(network_config, target=str(target))
    return files(target)


def netplan_generate():
    """What netplan makes, for systemd-networkd, of what cloud-init rendered for it."""
    root = OUT / "netplan"
    subprocess.run(
        [os.environ["NETPLAN"], "--root-dir", str(root)],
        env={**os.environ, "LD_LIBRARY_PATH": os.environ["NETPLAN_LIBRARIES"]},
        stdout=sys.stderr,
        check=True,
    )
    return files(root / "run/systemd/network")


def interface_with(mac):
    """The name of the interface with an address."""
    for interface in pathlib.Path("/sys/class/net").iterdir():
        if (interface / "address").read_text().strip() == mac:
            return interface.name
    return None


def main(mac):
    logging.basicConfig(stream=sys.stderr, level=logging.DEBUG)
    paths = helpers.Paths({"cloud_dir": "/run/cloud", "run_dir": "/run/cloud-init"})
    distro = distros.fetch("debian")("debian", {}, paths)
    source = DataSourceNoCloud({}, distro, paths)
    if not source.get_data():
        sys.exit("cloud-init finds no seed")
    hostname = source.get_hostname()
    distro.networking.apply_network_config_names(source.network_config)
    rendered = {name: render(name, source.network_config) for name in RENDERERS}
    rendered["netplan's networkd"] = netplan_generate()
    report = {
        "version": version.version_string(),
        "sources": yaml.safe_load(pathlib.Path("/run/cloud-init/cloud.cfg").read_text())["datasource_list"],
        "seed": source.seed,
        "instance_id": source.get_instance_id(),
        # Newer ones say as well whether it is a default.
        "hostname": getattr(hostname, "hostname", hostname),
        "user_data": bytes(source.get_userdata_raw()).decode(),
        "user_data_types": [part.get_content_type() for part in source.get_userdata().walk()],
        "interface": interface_with(mac),
        "rendered": rendered,
    }
    json.dump(report, sys.stdout, indent=1)


main(sys.argv[1])
