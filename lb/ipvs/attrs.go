package ipvs

// The numbers of include/uapi/linux/ip_vs.h that moby/ipvs keeps to itself or
// lacks. Commands first.
const (
	cmdNewDest   = 5
	cmdSetDest   = 6
	cmdDelDest   = 7
	cmdGetDest   = 8
	cmdNewDaemon = 9
	cmdDelDaemon = 10
	cmdGetDaemon = 11
	cmdGetInfo   = 15
	cmdZero      = 16

	cmdGetService = 4
)

// Top-level attributes (IPVS_CMD_ATTR_*).
const (
	attrService = 1
	attrDest    = 2
	attrDaemon  = 3
)

// Attributes of a service (IPVS_SVC_ATTR_*).
const (
	svcFamily    = 1
	svcProtocol  = 2
	svcAddr      = 3
	svcPort      = 4
	svcFWMark    = 5
	svcScheduler = 6
	svcFlags     = 7
	svcTimeout   = 8
	svcNetmask   = 9
	svcStats     = 10
	svcEngine    = 11
	svcStats64   = 12
)

// Attributes of a destination (IPVS_DEST_ATTR_*).
const (
	destAddr       = 1
	destPort       = 2
	destForward    = 3
	destWeight     = 4
	destUpper      = 5
	destLower      = 6
	destActive     = 7
	destInactive   = 8
	destPersistent = 9
	destStats      = 10
	destFamily     = 11
	destStats64    = 12
	destTunType    = 13
	destTunPort    = 14
	destTunFlags   = 15
)

// Attributes of statistics, in both the 32-bit and the 64-bit form (IPVS_STATS_ATTR_*).
const (
	statConns    = 1
	statInPkts   = 2
	statOutPkts  = 3
	statInBytes  = 4
	statOutBytes = 5
	statCPS      = 6
	statInPPS    = 7
	statOutPPS   = 8
	statInBPS    = 9
	statOutBPS   = 10
)

// Attributes of a sync daemon (IPVS_DAEMON_ATTR_*).
const (
	daemonState     = 1
	daemonInterface = 2
	daemonID        = 3
	daemonMaxLen    = 4
	daemonGroup     = 5
	daemonGroup6    = 6
	daemonPort      = 7
	daemonTTL       = 8
)

// Attributes of the answer to cmdGetInfo (IPVS_INFO_ATTR_*).
const (
	infoVersion   = 1
	infoTableSize = 2
)

// Service flags that lb.Flags leaves out.
const (
	flagPersistent = 0x1
	flagHashed     = 0x2
)

// forwardMask is IP_VS_CONN_F_FWD_MASK.
const forwardMask = 0x7
