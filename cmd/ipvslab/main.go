// Command ipvslab builds network-namespace labs for LVS/IPVS and proves what they do.
package main

func main() {}
