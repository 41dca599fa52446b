import Artifacts
import Foundation

// What no verb does yet, as a program that can be recorded:
//   power-loss-subject alias STORE NAME ALIAS VERSION    points an alias at a version
//   power-loss-subject unalias STORE NAME ALIAS          removes it
let arguments = Array(CommandLine.arguments.dropFirst())
guard arguments.count >= 4 else { exit(64) }
let store = ArtifactStore(URL(filePath: arguments[1], directoryHint: .isDirectory))
switch (arguments[0], arguments.count) {
case ("alias", 5):
    try store.setAlias(
        arguments[3], to: ArtifactReference("\(arguments[2]):\(arguments[4])"), reason: "asked for by a test")
case ("unalias", 4):
    try store.removeAlias(arguments[3], of: arguments[2], reason: "asked for by a test")
default: exit(64)
}
