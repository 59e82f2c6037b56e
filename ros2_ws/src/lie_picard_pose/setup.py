from glob import glob

from setuptools import setup

NAME = "lie_picard_pose"

setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", glob("launch/*.launch.py")),
        (f"share/{NAME}/config", glob("config/*.yaml") + glob("config/*.xml")),
        (f"share/{NAME}/rviz", glob("rviz/*.rviz")),
        *((f"share/{NAME}/{folder}", glob(f"{folder}/*")) for folder in ("demo/turning_solids", "demo/moving_solids")),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="Lie-Picard maintainers",
    maintainer_email="maintainers@lie-picard.dev",
    description="Multi-hypothesis object pose estimation from camera images",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            f"pose_node = {NAME}.start:main",
            f"demo = {NAME}.demo:main",
            f"demo_recording = {NAME}.demo_recording:main",
            f"bag_player = {NAME}.bag_player:main",
            f"bag_recorder = {NAME}.bag_recorder:main",
            f"demo_view = {NAME}.demo_view:main",
            f"load_test = {NAME}.load_test:main",
            f"load_floor = {NAME}.load_floor:main",
            f"grasp_planner = {NAME}.grasp_planner:main",
            f"warm_start = {NAME}.warm_start:main",
        ]
    },
)
