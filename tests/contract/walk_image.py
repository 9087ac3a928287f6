"""Images: upload, download, properties, sharing."""
import hashlib
import os

from harness import equal, subset


def walk(b):
    data = os.urandom(3 * 1024 * 1024 + 17)
    file, back = b.folder + "/image.raw", b.folder + "/image.back"
    open(file, "wb").write(data)
    with b.check("image create from a file"):
        made = b.get("demo", "image create", "--disk-format", "raw", "--container-format", "bare", "--file", file, "--property", "os_distro=none", "--min-disk", "1", "blob")
        equal(made["disk_format"], "raw")
    with b.check("image show: size and checksums are the file's"):
        shown = b.get("demo", "image show", "blob")
        equal((shown["status"], shown["size"]), ("active", len(data)))
        equal(shown["checksum"], hashlib.md5(data).hexdigest())
        equal(shown["properties"]["os_hash_algo"], "sha512")
        equal(shown["properties"]["os_hash_value"], hashlib.sha512(data).hexdigest())
        equal(shown["properties"]["os_distro"], "none")
        equal(shown["min_disk"], 1)
    with b.check("image save gives the same bytes"):
        b.do("demo", "image save", "--file", back, "blob")
        equal(hashlib.sha512(open(back, "rb").read()).hexdigest(), hashlib.sha512(data).hexdigest())
    with b.check("image list: all, by name, status, visibility, property, long, sorted"):
        subset(["blob", "tiny"], [r["Name"] for r in b.get("demo", "image list")])
        equal([r["Name"] for r in b.get("demo", "image list", "--name", "blob")], ["blob"])
        equal([r["Name"] for r in b.get("demo", "image list", "--property", "os_distro=none", "--long")], ["blob"])
        subset(["tiny"], [r["Name"] for r in b.get("demo", "image list", "--public", "--sort", "name:desc")])
        equal(b.get("demo", "image list", "--status", "queued"), [])
    with b.check("image set, image unset"):
        b.do("demo", "image set", "--name", "blob2", "--property", "colour=blue", "--min-ram", "64", "--tag", "lab", "blob")
        shown = b.get("demo", "image show", "blob2")
        equal((shown["properties"]["colour"], shown["min_ram"], shown["tags"]), ("blue", 64, ["lab"]))
        b.do("demo", "image unset", "--property", "colour", "--tag", "lab", "blob2")
        shown = b.get("demo", "image show", "blob2")
        assert "colour" not in shown["properties"] and shown["tags"] == [], shown
    with b.check("image add project, member list, remove project"):
        project = b.get("admin", "project show", "admin")["id"]
        b.do("demo", "image set", "--shared", "blob2")
        b.do("demo", "image add project", "blob2", project)
        image = b.get("demo", "image show", "blob2")["id"]
        equal([r["Status"] for r in b.get("demo", "image member list", image)], ["pending"])
        b.do("demo", "image remove project", "blob2", project)
    with b.check("a protected image is not deleted; an unprotected one is"):
        b.do("demo", "image set", "--protected", "blob2")
        assert "protected" in b.refused("demo", "image delete", "blob2")
        b.do("demo", "image set", "--unprotected", "blob2")
        b.do("demo", "image delete", "blob2")
        assert "No Image found" in b.refused("demo", "image show", "blob2")
    with b.check("image's schemas are served"):
        for schema in ("image", "images", "member", "members"):
            equal(b.rest("GET", "/image/v2/schemas/" + schema).json["name"], schema)
