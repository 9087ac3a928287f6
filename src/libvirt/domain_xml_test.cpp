#include "libvirt/domain_xml.h"

#include <gtest/gtest.h>

namespace virga::libvirt {
namespace {

host::DomainSpec small_server() {
  host::DomainSpec spec;
  spec.id = ServerId("6f9c1c52-6a3e-4a52-9a3e-0f2b8b1f9a10");
  spec.generation = 7;
  spec.name = "instance-0000002a";
  spec.title = "a <b> & \"c\"";
  spec.project_id = "p1";
  spec.user_id = "u1";
  spec.flavor_name = "m1.nano";
  spec.vcpus = 2;
  spec.memory = MiB{64};
  spec.kernel = "/k";
  spec.initrd = "/i";
  spec.command_line = "root=/dev/vda1";
  spec.disks = {{.path = "/d/disk"},
                {.path = "/d/disk.config", .format = "raw", .bus = "ide", .device = "cdrom"}};
  spec.nics = {{.port = PortId("0c1d"), .mac = "fa:16:3e:00:00:01", .mtu = 1442, .tap = "tap0c1d"}};
  spec.console_log = "/d/console.log";
  spec.serial_socket = "/d/serial.sock";
  return spec;
}

constexpr const char* kGolden = R"(<domain type="qemu">
  <name>instance-0000002a</name>
  <uuid>6f9c1c52-6a3e-4a52-9a3e-0f2b8b1f9a10</uuid>
  <title>a &lt;b&gt; &amp; "c"</title>
  <metadata>
    <virga:server xmlns:virga="https://virga.cloud/xmlns/1" generation="7" project="p1" user="u1" flavor="m1.nano" />
  </metadata>
  <memory unit="MiB">64</memory>
  <vcpu>2</vcpu>
  <sysinfo type="smbios">
    <system>
      <entry name="manufacturer">OpenStack Foundation</entry>
      <entry name="product">OpenStack Nova</entry>
      <entry name="version">Virga</entry>
      <entry name="serial">6f9c1c52-6a3e-4a52-9a3e-0f2b8b1f9a10</entry>
      <entry name="uuid">6f9c1c52-6a3e-4a52-9a3e-0f2b8b1f9a10</entry>
      <entry name="family">Virtual Machine</entry>
    </system>
  </sysinfo>
  <os>
    <type arch="x86_64" machine="pc">hvm</type>
    <kernel>/k</kernel>
    <initrd>/i</initrd>
    <cmdline>root=/dev/vda1</cmdline>
    <boot dev="hd" />
    <smbios mode="sysinfo" />
  </os>
  <features>
    <acpi />
    <apic />
  </features>
  <cpu mode="maximum" />
  <clock offset="utc">
    <timer name="pit" tickpolicy="delay" />
    <timer name="rtc" tickpolicy="catchup" />
    <timer name="hpet" present="no" />
  </clock>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <disk type="file" device="disk">
      <driver name="qemu" type="qcow2" discard="unmap" />
      <source file="/d/disk" />
      <target dev="vda" bus="virtio" />
    </disk>
    <disk type="file" device="cdrom">
      <driver name="qemu" type="raw" />
      <source file="/d/disk.config" />
      <target dev="hda" bus="ide" />
      <readonly />
    </disk>
    <interface type="bridge">
      <mac address="fa:16:3e:00:00:01" />
      <source bridge="br-int" />
      <virtualport type="openvswitch">
        <parameters interfaceid="0c1d" />
      </virtualport>
      <target dev="tap0c1d" />
      <model type="virtio" />
      <driver name="qemu">
        <host csum="off" gso="off" tso4="off" tso6="off" ecn="off" ufo="off" />
        <guest csum="off" tso4="off" tso6="off" ecn="off" ufo="off" />
      </driver>
      <mtu size="1442" />
    </interface>
    <serial type="unix">
      <source mode="bind" path="/d/serial.sock" />
      <log file="/d/console.log" />
      <target port="0" />
    </serial>
    <controller type="usb" model="none" />
    <channel type="unix">
      <source mode="bind" />
      <target type="virtio" name="org.qemu.guest_agent.0" />
    </channel>
    <graphics type="vnc">
      <listen type="socket" />
    </graphics>
    <video>
      <model type="vga" />
    </video>
    <memballoon model="virtio">
      <stats period="10" />
    </memballoon>
    <rng model="virtio">
      <backend model="random">/dev/urandom</backend>
    </rng>
  </devices>
</domain>
)";

TEST(DomainXml, UserspaceDatapathGolden) {
  DomainStyle style;
  style.userspace_datapath = true;
  EXPECT_EQ(domain_xml(small_server(), style), kGolden);
}

TEST(DomainXml, EqualSpecsGiveEqualXml) {
  EXPECT_EQ(domain_xml(small_server(), {}), domain_xml(small_server(), {}));
}

TEST(DomainXml, KvmOnTheKernelDatapathKeepsOffload) {
  DomainStyle style;
  style.virt_type = "kvm";
  auto xml = domain_xml(small_server(), style);
  EXPECT_NE(xml.find("<cpu mode=\"host-model\" />"), std::string::npos);
  EXPECT_EQ(xml.find("csum"), std::string::npos);
}

TEST(DomainXml, DisksOfOneBusAreLetteredApart) {
  auto spec = small_server();
  spec.disks = {{.path = "/1", .bus = "scsi"}, {.path = "/2"}, {.path = "/3", .bus = "sata"}, {.path = "/4"}};
  auto xml = domain_xml(spec, {});
  for (const char* dev :
       {"\"sda\" bus=\"scsi\"", "\"vda\"", "\"sdb\" bus=\"sata\"", "\"vdb\"", "virtio-scsi"}) {
    EXPECT_NE(xml.find(dev), std::string::npos) << dev;
  }
  spec.disks = {{.path = "/1", .bus = "floppy"}};
  EXPECT_THROW(domain_xml(spec, {}), Fault);
}

TEST(DomainXml, Letters) {
  EXPECT_EQ(device_letters(0), "a");
  EXPECT_EQ(device_letters(25), "z");
  EXPECT_EQ(device_letters(26), "aa");
  EXPECT_EQ(device_letters(27), "ab");
  EXPECT_EQ(device_letters(702), "aaa");
}

TEST(DomainXml, ReadsBack) {
  EXPECT_EQ(generation_of_metadata("<virga:server xmlns:virga='x' generation='12'/>"), 12);
  EXPECT_EQ(generation_of_metadata("<server generation='3'/>"), 3);
  EXPECT_FALSE(generation_of_metadata("<instance/>"));
  EXPECT_FALSE(generation_of_metadata("rubbish"));
  EXPECT_EQ(vnc_socket_of_domain("<domain><devices><graphics type='spice'/><graphics type='vnc' socket='/a'/>"
                                 "</devices></domain>"),
            "/a");
  EXPECT_EQ(vnc_socket_of_domain("<domain><devices><graphics type='vnc'><listen type='socket' socket='/b'/>"
                                 "</graphics></devices></domain>"),
            "/b");
  EXPECT_EQ(vnc_socket_of_domain("<domain/>"), "");
}

}  // namespace
}  // namespace virga::libvirt
